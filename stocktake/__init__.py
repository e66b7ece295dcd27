"""The program: settings, command line, HTTP service, embedded servers, and the wiring of the other packages."""

from importlib.metadata import version

__version__ = version("stocktake")
