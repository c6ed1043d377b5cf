"""The supervisor (supervisord) of a stack: its configuration, its start, and the requests to it."""

import http.client
import os
import re
import shlex
import subprocess
import sys
import xmlrpc.client
from dataclasses import dataclass
from typing import Any

from services.ops.embedded import kafka, postgres
from services.ops.embedded.state import WEBHOOK_NETWORKS, State, environment, write_private
from services.ops.sources.secret_keys import stack_key
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from shared.settings.base import PREFIX
from shared.settings.secrets import SecretsSettings

SERVERS = ("postgres", "kafka")
SERVICES = ("receiver", "ingest", "aggregator", "publisher", "webhooks", "api")
PROGRAMS = SERVERS + SERVICES

LAUNCH_SECONDS = 30
ANSWER_SECONDS = 10
ALREADY_STARTED = 60  # the fault code of supervisord

SUPERVISOR_SECTIONS = """\
[supervisord]
logfile = logs/supervisor.log
logfile_maxbytes = 1MB
logfile_backups = 1
childlogdir = logs
pidfile = supervisord.pid
silent = true
{user}

[inet_http_server]
port = 127.0.0.1:{port}
username = callfold
password = {password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

PROGRAM_SECTION = """
[program:{name}]
command = {command}
autorestart = true
startsecs = 2
startretries = 1000000
redirect_stderr = true
stdout_logfile = logs/{name}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 2
"""

# The supervisor stops programs from the largest priority down: services before the servers they need.
PROGRAM_OPTIONS = {
    "postgres": "priority = 1\nstopsignal = INT\nstopwaitsecs = 60\n",
    "kafka": "priority = 2\nstopwaitsecs = 60\n",
    "receiver": "autostart = false\nstopwaitsecs = 30\nstopasgroup = true\nkillasgroup = true\n",
    "ingest": "autostart = false\nstopwaitsecs = 30\nstopasgroup = true\nkillasgroup = true\n",
    "aggregator": "autostart = false\nstopwaitsecs = 30\nstopasgroup = true\nkillasgroup = true\n",
    "publisher": "autostart = false\nstopwaitsecs = 30\nstopasgroup = true\nkillasgroup = true\n",
    "webhooks": "autostart = false\nstopwaitsecs = 30\nstopasgroup = true\nkillasgroup = true\n",
    "api": "autostart = false\nstopwaitsecs = 30\nstopasgroup = true\nkillasgroup = true\n",
}


# People read the log files of a stack, its sources are few, and its endpoints are often on the same machine.
# The environment can override these.
DEFAULTS = {
    "CALLFOLD_LOG_FORMAT": "text",
    "CALLFOLD_SOURCES_INTERVAL_SECONDS": "1",
    "CALLFOLD_WEBHOOK_NETWORKS": WEBHOOK_NETWORKS,
}


@dataclass(frozen=True)
class Status:
    """A program: its process, if it has one, and its state in supervisord's words, in lower case."""

    name: str
    pid: int | None
    state: str


def launch(state: State) -> None:
    """Starts supervisord, which starts the servers. Raises Failure when it does not start."""
    (state.directory / "logs").mkdir(exist_ok=True)
    write_private(state.directory / "supervisord.conf", configuration(state))
    launched = subprocess.run(  # noqa: S603 (this interpreter, with our own arguments)
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(state.directory / "supervisord.conf")],
        # Log paths are relative to this directory, and all programs inherit these variables. So no path and
        # no password needs quoting in the configuration file.
        cwd=state.directory,
        env=DEFAULTS | _inherited() | environment(state),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LAUNCH_SECONDS,
    )
    if launched.returncode != 0:
        output = " ".join((launched.stdout + launched.stderr).split())
        raise Failure(f"The supervisor did not start: {output}")
    # A request wakes it to start the servers now; otherwise it wakes after a second.
    statuses(state)


def configuration(state: State) -> str:
    """The text of supervisord.conf."""
    commands = {
        "postgres": postgres.command(state.postgres_directory, state.ports.postgres),
        "kafka": kafka.command(state.kafka_directory),
    } | {name: [sys.executable, "-P", "-m", f"services.{name}"] for name in SERVICES}
    variables = {
        name: [f"CALLFOLD_MONITOR_PORT={port}", f'CALLFOLD_DATABASE_URL="{state.database_url_of(name)}"']
        for name, port in state.ports.monitors.items()
    }
    for name in ("receiver", "ingest", "webhooks", "api"):
        variables[name].append(f'CALLFOLD_SECRETS_KEY="{_secrets_keys(state)}"')
    if state.admin_token is not None:
        variables["api"] += [
            f'CALLFOLD_ADMIN_TOKEN="{state.admin_token}"',
            f'CALLFOLD_ADMIN_DATABASE_URL="{state.database_url_of("operator")}"',
        ]
    # A static group membership: a restarted ingest gets its partitions back at once.
    variables["ingest"].append("CALLFOLD_GROUP_INSTANCE_ID=ingest-1")
    text = SUPERVISOR_SECTIONS.format(
        port=state.ports.supervisor,
        password=state.password,
        # Set explicitly, so that supervisord does not warn about running as root.
        user="user = root" if os.geteuid() == 0 else "",
    )
    for name in PROGRAMS:
        text += PROGRAM_SECTION.format(name=name, command=_quoted(commands[name])) + PROGRAM_OPTIONS[name]
        text += f"environment = {','.join(variables[name])}\n" if name in variables else ""
        user = postgres.operating_user() if name == "postgres" else None
        text += f"user = {user}\n" if user is not None else ""
    return text


def _secrets_keys(state: State) -> str:
    """The keys that may have encrypted secrets: the operator's, if set, and the stack's."""
    given = settings_from_environment(SecretsSettings).secrets_key
    operators = [given.get_secret_value()] if given is not None else []
    return ",".join([*operators, stack_key(state.directory)])


def statuses(state: State) -> list[Status] | None:
    """The status of each program, or None when no supervisor answers."""
    try:
        with _proxy(state) as proxy:
            answers: Any = proxy.supervisor.getAllProcessInfo()
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return None
    known = {each["name"]: each for each in answers}
    return [
        Status(name, known[name]["pid"] or None, known[name]["statename"].lower())
        for name in PROGRAMS
        if name in known
    ]


def last_start(state: State, name: str) -> int:
    """The time of the program's last start, in seconds since the epoch; 0 if there was none."""
    try:
        with _proxy(state) as proxy:
            answer: Any = proxy.supervisor.getProcessInfo(name)
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return 0
    return int(answer["start"])


def start_program(state: State, name: str) -> None:
    """Starts a program unless it already runs. Raises Failure when the supervisor does not start it."""
    try:
        with _proxy(state) as proxy:
            proxy.supervisor.startProcess(name, False)
    except xmlrpc.client.Fault as fault:
        if fault.faultCode != ALREADY_STARTED:
            raise Failure(f"The supervisor did not start {name}: {fault.faultString}") from None
    except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
        raise Failure(f"The supervisor did not answer the request to start {name}: {error}") from None


def shut_down(state: State) -> bool:
    """Tells supervisord to stop its programs and exit. Returns whether it accepted the request."""
    try:
        with _proxy(state) as proxy:
            return bool(proxy.supervisor.shutdown())
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return False


def _inherited() -> dict[str, str]:
    """This process's variables without `CALLFOLD_KAFKA_…`, which are for another Kafka, and without the keys
    of secrets and the admin API's settings, which only some services need."""
    others = (f"{PREFIX}KAFKA_", f"{PREFIX}SECRETS_KEY", f"{PREFIX}ADMIN_")
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(others)}


class _Transport(xmlrpc.client.Transport):
    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = ANSWER_SECONDS
        return connection


def _proxy(state: State) -> xmlrpc.client.ServerProxy:
    address = f"http://callfold:{state.password}@127.0.0.1:{state.ports.supervisor}/RPC2"
    return xmlrpc.client.ServerProxy(address, transport=_Transport())


def _quoted(command: list[str]) -> str:
    """A command in supervisord's syntax: % begins an expansion, and ; or # after a space begins a comment."""
    line = shlex.join(command).replace("%", "%%")
    # Such a space is within single quotes. Closing and reopening them separates it from the character.
    return re.sub(r"(\s)([;#])", r"\1''\2", line)
