import { checkRuntimeEnv } from "./runtime-env.js";

it.each([
  {},
  { working_dir: "gcs://a.zip", env_vars: { A: "1" }, excludes: ["x"], config: { setup_timeout_seconds: 600, eager_install: true, log_files: [] } },
  { workingDir: null, envVars: null, pip: null, conda: undefined },
  { pip: { packages: [], pip_check: false }, _ray_commit: "0123456789012345678901234567890123456789", py_modules: [], conda: {}, py_executable: "" },
])("takes %j", (env) => {
  expect(() => checkRuntimeEnv(env)).not.toThrow();
});

it.each([
  [
    { pip: { packages: ["x"], pip_check: false } },
    "runtime_env 'pip' is not supported by this version of tray; it knows working_dir, env_vars, excludes and config",
  ],
  [
    { conda: "env", java_jars: ["a.jar"] },
    "runtime_env 'conda', 'java_jars' are not supported by this version of tray; it knows working_dir, env_vars, excludes and config",
  ],
  [{ working_dri: "." }, "runtime_env 'working_dri' is not supported by this version of tray: did you mean 'working_dir'?"],
  [{ env_vars: { A: 1 } }, `runtime_env 'env_vars': A is 1, not a text; write "1"`],
  [{ env_vars: ["A=1"] }, `runtime_env 'env_vars' is ["A=1"], not names with texts`],
])("refuses %j", (env, message) => {
  expect(() => checkRuntimeEnv(env)).toThrow(message);
});
