/** Makes one file of the package and what it needs, for pages that have no bundler. */

import { bundle } from "./bundling.js";

const chunks = await bundle("dist/index.js", "chirm", "dist/bundle");
if (chunks.length !== 1) throw new Error(`${chunks.length} files where one belongs`);
