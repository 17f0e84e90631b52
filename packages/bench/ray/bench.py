"""The cases of @tray/bench for Ray, by their names: one case a process, one line "@bench {row: [samples]}".

Started by @tray/bench (src/peers/ray.ts). The cases are those of Ray's own microbenchmark (ray/_private/ray_perf.py) where it has them,
with the numbers of calls that tray's side uses.
"""
import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np
import ray

MIB = 1 << 20
CASES = {}


def case(function):
    CASES[function.__name__.lstrip("_")] = function
    return function


def during(duration_ms, operation):
    begin = time.perf_counter()
    units = 0
    while True:
        units += operation()
        elapsed = time.perf_counter() - begin
        if elapsed * 1000 >= duration_ms:
            return units / elapsed


def rates(args, operation):
    during(args.warm_up_ms, operation)
    return [during(args.window_ms, operation) for _ in range(args.windows)]


def rate_case(name):
    """A case with one row of its own name: the function prepares and returns the operation, which returns how many units it did."""

    def register(prepare):
        def measure(args):
            connect(args)
            return {name: rates(args, prepare(args))}

        CASES[name] = measure
        return prepare

    return register


def connect(args):
    ray.init(num_cpus=args.cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    for _ in range(5):
        ray.get([noop.remote() for _ in range(20 * args.cpus)])


@ray.remote
def noop():
    return None


@ray.remote
def small():
    return b"ok"


@ray.remote
class Echo:
    def call(self):
        return None


@ray.remote
class TaskClient:
    def batch(self, n):
        ray.get([noop.remote() for _ in range(n)])
        return n


@ray.remote
class ActorClient:
    def batch(self, actors, n):
        ray.get([actor.call.remote() for actor in actors for _ in range(n)])
        return n * len(actors)


@ray.remote
def call_actors(actors, n):
    ray.get([actors[i % len(actors)].call.remote() for i in range(n)])
    return n


def echo_actors(count):
    actors = [Echo.remote() for _ in range(count)]
    ray.get([actor.call.remote() for actor in actors])
    return actors


def actors_for(cpus):
    return max(2, cpus // 2)


# -- tasks ---------------------------------------------------------------------------------------------------------------------------
@rate_case("single_client_tasks_sync")
def _tasks_sync(args):
    def operation():
        ray.get(noop.remote())
        return 1

    return operation


def tasks_together(count):
    def operation():
        ray.get([noop.remote() for _ in range(count)])
        return count

    return operation


@rate_case("single_client_tasks_async")
def _tasks_async(args):
    return tasks_together(1000)


@rate_case("single_client_tasks_async_10k")
def _tasks_async_10k(args):
    return tasks_together(10_000)


@rate_case("single_client_tasks_and_get_batch")
def _tasks_batch(args):
    def operation():
        ray.get([small.remote() for _ in range(1000)])
        return 1

    return operation


@rate_case("multi_client_tasks_async")
def _multi_client(args):
    clients = [TaskClient.remote() for _ in range(4)]
    ray.get([client.batch.remote(1) for client in clients])
    return lambda: sum(ray.get([client.batch.remote(2500) for client in clients]))


# -- actors --------------------------------------------------------------------------------------------------------------------------
@rate_case("1_1_actor_calls_sync")
def _actor_sync(args):
    (actor,) = echo_actors(1)

    def operation():
        ray.get(actor.call.remote())
        return 1

    return operation


def calls_together(actor):
    def operation():
        ray.get([actor.call.remote() for _ in range(1000)])
        return 1000

    return operation


@rate_case("1_1_actor_calls_async")
def _actor_async(args):
    return calls_together(echo_actors(1)[0])


@rate_case("1_1_actor_calls_concurrent")
def _actor_concurrent(args):
    actor = Echo.options(max_concurrency=16).remote()
    ray.get(actor.call.remote())
    return calls_together(actor)


@rate_case("1_n_actor_calls_async")
def _one_to_n(args):
    servers = echo_actors(actors_for(args.cpus))
    client = ActorClient.remote()
    return lambda: ray.get(client.batch.remote(servers, 1000))


@rate_case("n_n_actor_calls_async")
def _n_to_n(args):
    servers = echo_actors(actors_for(args.cpus))
    return lambda: sum(ray.get([call_actors.remote(servers, 1000) for _ in range(4)]))


@rate_case("actor_create_and_call")
def _create(args):
    def operation():
        actor = Echo.remote()
        ray.get(actor.call.remote())
        ray.kill(actor)
        return 1

    return operation


@case
def actor_create_and_call_warm(args):
    connect(args)
    samples = []
    for i in range(args.repetitions + 1):
        time.sleep(1.5)
        begin = time.perf_counter()
        actor = Echo.remote()
        ray.get(actor.call.remote())
        if i > 0:
            samples.append((time.perf_counter() - begin) * 1000)
        ray.kill(actor)
    return {"actor_create_and_call_warm": samples}


# -- objects -------------------------------------------------------------------------------------------------------------------------
@rate_case("single_client_put_calls")
def _put(args):
    def operation():
        for _ in range(100):
            ray.put(0)
        return 100

    return operation


@rate_case("single_client_get_calls")
def _get(args):
    ref = ray.put(0)

    def operation():
        for _ in range(100):
            ray.get(ref)
        return 100

    return operation


def put_array(array, unit):
    def operation():
        ref = ray.put(array)
        del ref
        return array.nbytes / unit

    return operation


@rate_case("single_client_put_gigabytes")
def _put_gigabytes(args):
    return put_array(np.ones(100_000_000, dtype=np.float64), 1e9)


@rate_case("put_100MiB")
def _put_100(args):
    return put_array(np.full(100 * MIB, 7, dtype=np.uint8), 1024 * MIB)


@rate_case("get_100MiB")
def _get_100(args):
    ref = ray.put(np.full(100 * MIB, 7, dtype=np.uint8))

    def operation():
        for _ in range(10):
            ray.get(ref)
        return 10

    return operation


@rate_case("single_client_wait_1k_refs")
def _wait_1k(args):
    def operation():
        rest = [small.remote() for _ in range(1000)]
        while rest:
            _, rest = ray.wait(rest)
        return 1

    return operation


def wait_for_all(refs):
    def operation():
        ray.wait(refs, num_returns=len(refs))
        return 1

    return operation


@rate_case("wait_1k_ready_refs")
def _wait_ready(args):
    return wait_for_all([ray.put(0) for _ in range(1000)])


@rate_case("wait_1k_ready_results")
def _wait_results(args):
    refs = [small.remote() for _ in range(1000)]
    ray.get(refs)
    return wait_for_all(refs)


@case
def spill(args):
    spill_dir = os.path.join(args.scratch_dir, "spill")
    os.mkdir(spill_dir)
    ray.init(
        num_cpus=1,
        object_store_memory=512 * MIB,
        object_spilling_directory=spill_dir,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    size, count = 64 * MIB, 32
    gibibytes = size * count / (1024 * MIB)
    array = np.full(size, 7, dtype=np.uint8)
    samples = {"spill_2GiB": [], "restore_2GiB": []}
    for _ in range(args.repetitions):
        refs = []
        begin = time.perf_counter()
        for i in range(count):
            array[-1] = i
            refs.append(ray.put(array))
        samples["spill_2GiB"].append(gibibytes / (time.perf_counter() - begin))
        begin = time.perf_counter()
        for i in range(count):
            value = ray.get(refs[i])
            assert value.nbytes == size and value[-1] == i
            del value
        samples["restore_2GiB"].append(gibibytes / (time.perf_counter() - begin))
        del refs
    return samples


# -- transfer between two raylets ----------------------------------------------------------------------------------------------------
@ray.remote(num_cpus=0, resources={"far": 1})
def make(length, value):
    return np.full(length, value, dtype=np.uint8)


def transfer_case(size):
    name = f"transfer_{size}MiB"

    def measure(args):
        from ray.cluster_utils import Cluster

        store = 2 << 30
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": store})
        cluster.add_node(num_cpus=1, object_store_memory=store, resources={"far": 1})
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        samples = []
        warm_ups = 3
        length = size * MIB
        repetitions = args.repetitions * (5 if size < 100 else 1)
        for i in range(repetitions + warm_ups):
            ref = make.remote(length, i)
            ray.wait([ref], fetch_local=False)
            begin = time.perf_counter()
            value = ray.get(ref)
            elapsed = time.perf_counter() - begin
            assert value.nbytes == length and value[-1] == i
            if i >= warm_ups:
                samples.append(length / (1024 * MIB) / elapsed)
            del value, ref
        ray.shutdown()
        cluster.shutdown()
        return {name: samples}

    CASES[name] = measure


for megabytes in (10, 100, 500):
    transfer_case(megabytes)


# -- one object to many nodes --------------------------------------------------------------------------------------------------------
@ray.remote(num_cpus=0)
class Receiver:
    def last(self, received):
        return int(received[-1])


def broadcast(args):
    from ray.cluster_utils import Cluster

    nodes, length, store, warm_ups = 8, 256_000_000, 1 << 30, 3
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": store})
    for i in range(nodes):
        cluster.add_node(num_cpus=1, object_store_memory=store, resources={f"node{i}": 1})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    receivers = [Receiver.options(resources={f"node{i}": 1}).remote() for i in range(nodes)]
    array = np.zeros(length, dtype=np.uint8)
    samples = []
    for i in range(args.repetitions + warm_ups):
        array[-1] = i
        ref = ray.put(array)
        if i == 0:
            ray.get([receiver.last.remote(np.zeros(1, dtype=np.uint8)) for receiver in receivers])
        begin = time.perf_counter()
        last = ray.get([receiver.last.remote(ref) for receiver in receivers])
        elapsed = time.perf_counter() - begin
        assert all(value == i for value in last)
        if i >= warm_ups:
            samples.append(nodes * length / 2**30 / elapsed)
        del ref
    ray.shutdown()
    cluster.shutdown()
    return {"broadcast_256MB": samples}


CASES["broadcast_256MB"] = broadcast


# -- the life of a head --------------------------------------------------------------------------------------------------------------
CONNECT = """
import sys, time, ray
begin = time.perf_counter()
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print((time.perf_counter() - begin) * 1000)
ray.shutdown()
"""


@case
def head(args):
    command = os.path.join(os.path.dirname(sys.executable), "ray")
    if ray_processes():
        raise SystemExit("another Ray runs on this machine, and `ray stop` would end it")
    samples = {"start_head": [], "driver_connect": [], "status": [], "idle_resident": [], "idle_proportional": [], "stop": []}
    port = 26379
    address = f"127.0.0.1:{port}"
    start = [command, "start", "--head", "--num-cpus", "2", f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=true", "--disable-usage-stats"]
    try:
        for _ in range(args.repetitions):
            samples["start_head"].append(timed(start))
            samples["driver_connect"].append(float(subprocess.run([sys.executable, "-c", CONNECT, address], check=True, capture_output=True, text=True).stdout))
            samples["status"].append(timed([command, "status", "--address", address]))
            time.sleep(3)
            resident, proportional = memory_mebibytes()
            samples["idle_resident"].append(resident)
            samples["idle_proportional"].append(proportional)
            samples["stop"].append(timed([command, "stop"]))
    finally:
        subprocess.run([command, "stop", "--force"], check=False, capture_output=True)
    return samples


def timed(command):
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return (time.perf_counter() - begin) * 1000


def ray_processes():
    """Pids of Ray's daemons and workers: they are told by where they run from, since daemons leave the process tree."""
    here = os.path.dirname(ray.__file__)
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                line = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if here in line or line.startswith("ray::"):
            found.append(int(name))
    return found



def memory_mebibytes():
    """Resident, and with shared pages divided among those who share them."""
    kib = {"Rss:": 0, "Pss:": 0}
    for pid in ray_processes():
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                for words in map(str.split, file):
                    if words[0] in kib:
                        kib[words[0]] += int(words[1])
        except OSError:
            continue
    return kib["Rss:"] / 1024, kib["Pss:"] / 1024


# -- growth --------------------------------------------------------------------------------------------------------------------------
@ray.remote
def hold(path):
    while not os.path.exists(path):
        time.sleep(0.005)


def own_rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def queued_case(count):
    name = f"queued_{count}"

    def measure(args):
        connect(args)
        ray.get([noop.remote() for _ in range(1000)])
        gate = os.path.join(args.scratch_dir, "gate")
        held = [hold.remote(gate) for _ in range(args.cpus)]
        time.sleep(1)
        before = own_rss()
        begin = time.perf_counter()
        refs = [noop.remote() for _ in range(count)]
        submit = time.perf_counter() - begin
        time.sleep(1)
        grown = own_rss() - before
        begin = time.perf_counter()
        open(gate, "w").close()
        ray.get(refs)
        run = time.perf_counter() - begin
        ray.get(held)
        samples = {f"queued_{count}_time_per_task": [(submit + run) * 1e6 / count]}
        if count >= 10_000:
            samples[f"queued_{count}_bytes_per_task"] = [grown / count]
        return samples

    CASES[name] = measure


for tasks in (1000, 10_000):
    queued_case(tasks)


@ray.remote
def one_millisecond():
    time.sleep(0.001)


@case
def busy_driver(args):
    connect(args)
    ray.get([one_millisecond.remote() for _ in range(100)])
    refs = [one_millisecond.remote() for _ in range(10_000)]
    begin = time.perf_counter()
    while time.perf_counter() - begin < 10:
        pass
    done, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
    return {"busy_driver": [len(done) / len(refs) * 100]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", required=True, choices=sorted(CASES))
    for name in ("cpus", "warm-up-ms", "window-ms", "windows", "repetitions"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--scratch-dir", required=True)
    args = parser.parse_args()
    samples = CASES[args.case](args)
    print("@bench " + json.dumps(samples), flush=True)


if __name__ == "__main__":
    main()
