"""The SDK's name and version, as hello says it."""

__version__ = "1.0.0"
SDK = f"tuskd-python {__version__}"
