"""`callfold status`: the addresses of a stack, and how its processes are."""

from dataclasses import asdict

from services.ops.addresses import JsonOption
from services.ops.embedded.state import load
from services.ops.failure import needs_extra
from services.ops.printing import print_json
from services.ops.program import DEFAULT_STATE
from services.ops.up import DirectoryOption, print_stack


def status(state: DirectoryOption = DEFAULT_STATE, as_json: JsonOption = False) -> None:
    """Show the addresses of a stack and the state of each of its processes.

    States: running, starting, backoff (it died early, and is started again after a pause), stopping, exited,
    fatal, stopped, orphaned (it runs, but its supervisor was killed: `up` and `down` put that right).

    Exit status: 0 whenever it could tell, whatever the states are; 1 when there is no such stack.
    """
    with needs_extra("embedded"):
        from services.ops.embedded import stack
    known = load(state)
    processes = stack.statuses(known)
    if as_json:
        addresses = {"api_url": known.api_url, "kafka": known.kafka, "database_url": known.database_url}
        print_json({**addresses, "metrics": known.metrics, "processes": [asdict(each) for each in processes]})
        return
    print_stack(known, [(each.name, each.pid, each.state) for each in processes])
