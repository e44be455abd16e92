// Run by npm after an install. `npm install <this folder>` from another project makes a link only: it
// installs nothing here, but everything is resolved from here. So what is missing is installed first.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("..", import.meta.url));

function npm(...args) {
  const { status } = spawnSync(process.execPath, [process.env.npm_execpath, ...args], {
    cwd: folder,
    stdio: "inherit",
  });
  if (status !== 0) process.exit(status ?? 1);
}

// Scripts are left out: the binaries come with the packages, and this script is one of them.
if (!existsSync(new URL("../node_modules/typescript", import.meta.url))) {
  npm("ci", "--ignore-scripts", "--no-audit", "--no-fund");
}
npm("run", "--silent", "build");
