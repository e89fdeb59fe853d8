import subprocess
import sys

PROGRAM = """
import importlib, pkgutil, sys
import fleet.domain
for module in pkgutil.iter_modules(fleet.domain.__path__, "fleet.domain."):
    importlib.import_module(module.name)
assert "fleet.domain.waves" in sys.modules
print(sorted({"grpc", "google.protobuf", "sqlalchemy", "torch", "flwr", "numpy"} & set(sys.modules)))
"""


def test_the_domain_loads_no_network_database_or_model():
    loaded = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
