"""What Ray's own client sees of tray's Jobs API. Run by ray-client.mjs, which starts the cluster and counts."""
import asyncio
import os
import subprocess
import sys
import tempfile
import time
import traceback

from ray.job_submission import JobStatus, JobSubmissionClient

URL = os.environ["TRAY_DASHBOARD"]
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def wait(client, job, *wanted, timeout=30):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        status = client.get_job_status(job)
        if status in wanted:
            return status
        time.sleep(0.05)
    raise AssertionError(f"{job} is {status} after {timeout} s")


def ray(*args, code=0):
    result = subprocess.run(["ray", "job", *args], capture_output=True, text=True, timeout=60, env={**os.environ, "RAY_ADDRESS": URL})
    assert result.returncode == code, f"ray job {args}: {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout + result.stderr


@check
def submit_status_info_logs():
    client = JobSubmissionClient(URL)
    job = client.submit_job(entrypoint="echo hello; echo $GREETING", runtime_env={"env_vars": {"GREETING": "from ray"}}, metadata={"k": "v"})
    assert job.startswith("raysubmit_"), job
    assert wait(client, job, JobStatus.SUCCEEDED, JobStatus.FAILED) == JobStatus.SUCCEEDED
    logs = client.get_job_logs(job)
    assert "hello\nfrom ray\n" in logs, logs
    info = client.get_job_info(job)
    assert info.metadata == {"k": "v"}, info
    assert info.submission_id == job and info.entrypoint.startswith("echo hello")
    assert info.driver_exit_code == 0 and info.end_time >= info.start_time


@check
def working_directory():
    client = JobSubmissionClient(URL)
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "main.mjs"), "w") as file:
            file.write('import * as tray from "tray";\nconst f = tray.remote((x) => x + 1);\nconsole.log("answer", await tray.get(f.remote(41)));\n')
        with open(os.path.join(directory, "tool.sh"), "w") as file:
            file.write("#!/bin/sh\necho tool runs\n")
        os.chmod(os.path.join(directory, "tool.sh"), 0o755)
        first = client.submit_job(entrypoint="./tool.sh && node main.mjs", runtime_env={"working_dir": directory})
        second = client.submit_job(entrypoint="ls", runtime_env={"working_dir": directory})
    assert wait(client, first, JobStatus.SUCCEEDED, JobStatus.FAILED) == JobStatus.SUCCEEDED, client.get_job_logs(first)
    logs = client.get_job_logs(first)
    assert "tool runs" in logs and "answer 42" in logs, logs
    wait(client, second, JobStatus.SUCCEEDED)
    info = client.get_job_info(first)
    assert info.job_id is not None and info.driver_info.pid.isdigit(), info


@check
def failure():
    client = JobSubmissionClient(URL)
    job = client.submit_job(entrypoint="echo to the end; exit 3")
    assert wait(client, job, JobStatus.SUCCEEDED, JobStatus.FAILED) == JobStatus.FAILED
    info = client.get_job_info(job)
    assert info.driver_exit_code == 3 and "to the end" in info.message, info


@check
def stop_and_delete():
    client = JobSubmissionClient(URL)
    job = client.submit_job(entrypoint="sleep 100", submission_id="to-be-stopped")
    wait(client, job, JobStatus.RUNNING)
    try:
        client.delete_job(job)
        raise AssertionError("deleted while it runs")
    except RuntimeError as error:
        assert "but it is in a non-terminal state" in str(error), error
    assert client.stop_job(job) is True
    wait(client, job, JobStatus.STOPPED)
    assert client.stop_job(job) is False
    assert client.delete_job(job) is True
    try:
        client.get_job_status(job)
        raise AssertionError("still there")
    except RuntimeError as error:
        assert "does not exist" in str(error), error


@check
def duplicate_and_unknown():
    client = JobSubmissionClient(URL)
    client.submit_job(entrypoint="true", submission_id="twice")
    try:
        client.submit_job(entrypoint="true", submission_id="twice")
        raise AssertionError("accepted twice")
    except RuntimeError as error:
        assert "Job with submission_id twice already exists" in str(error), error


@check
def tail():
    async def lines(client, job):
        return "".join([chunk async for chunk in client.tail_job_logs(job)])

    client = JobSubmissionClient(URL)
    job = client.submit_job(entrypoint="for i in 1 2 3; do echo line $i; sleep 0.2; done; printf 'ä€\\n'")
    text = asyncio.run(lines(client, job))
    assert "line 1\nline 2\nline 3\nä€\n" in text, text
    assert client.get_job_status(job) == JobStatus.SUCCEEDED


@check
def listing():
    client = JobSubmissionClient(URL)
    jobs = client.list_jobs()
    assert any(job.submission_id == "twice" for job in jobs), jobs


@check
def entrypoint_resources():
    client = JobSubmissionClient(URL)
    job = client.submit_job(entrypoint="true", entrypoint_num_cpus=1)
    assert wait(client, job, JobStatus.SUCCEEDED, JobStatus.FAILED) == JobStatus.SUCCEEDED
    waiting = client.submit_job(entrypoint="true", entrypoint_num_cpus=64)
    assert client.get_job_status(waiting) == JobStatus.PENDING
    assert "waiting for resources" in client.get_job_info(waiting).message
    client.stop_job(waiting)
    wait(client, waiting, JobStatus.STOPPED)


@check
def command_line_submit():
    out = ray("submit", "--submission-id", "by-cli", "--", "echo", "spoken by the job")
    assert "spoken by the job" in out and "succeeded" in out, out
    out = ray("submit", "--", "sh", "-c", "exit 4", code=1)
    assert "failed" in out.lower(), out


@check
def command_line_rest():
    assert "spoken by the job" in ray("logs", "by-cli")
    assert "succeeded" in ray("status", "by-cli")
    assert "by-cli" in ray("list")
    ray("submit", "--no-wait", "--submission-id", "cli-sleeper", "--", "sleep", "100")
    out = ray("stop", "cli-sleeper")
    assert "stopped" in out.lower(), out
    assert "deleted" in ray("delete", "by-cli").lower()


@check
def wrong_token():
    environment = {**os.environ, "RAY_ADDRESS": URL, "RAY_AUTH_TOKEN": "0" * 64}
    result = subprocess.run(["ray", "job", "list"], capture_output=True, text=True, timeout=60, env=environment)
    assert result.returncode != 0
    assert "uthenticat" in result.stdout + result.stderr, result.stdout + result.stderr


passed = 0
for body in CHECKS:
    try:
        body()
        passed += 1
        print(f"ok      {body.__name__}")
    except Exception:
        print(f"FAILED  {body.__name__}\n{traceback.format_exc()}")
print(f"{passed} passed, {len(CHECKS) - passed} failed")
sys.exit(0 if passed == len(CHECKS) else 1)
