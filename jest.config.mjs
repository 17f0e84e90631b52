const transform = {
  "^.+\\.(t|j|mj)s$": ["@swc/jest", { jsc: { parser: { syntax: "typescript", decorators: false }, target: "es2022" }, module: { type: "commonjs" } }],
};
const moduleNameMapper = {
  "^@tray/([a-z-]+)$": "<rootDir>/packages/$1/src/index.ts",
  "^(\\.{1,2}/.*)\\.js$": "$1",
};
const common = { rootDir: import.meta.dirname, transform, testEnvironment: "node", setupFilesAfterEnv: ["<rootDir>/jest.setup.mjs"] };

export default {
  maxWorkers: "100%", // integration tests wait for processes more than they compute
  projects: [
    { ...common, displayName: "unit", testMatch: ["<rootDir>/packages/*/src/**/*.test.ts"], moduleNameMapper },
    {
      ...common,
      displayName: "integration",
      testMatch: ["<rootDir>/packages/testkit/integration/**/*.test.ts"],
      moduleNameMapper,
    },
  ],
};
