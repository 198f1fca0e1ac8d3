"""Wiring: the only package that names concrete adapters."""

from engine.app.wiring import App, AppError, BusyError

__all__ = ["App", "AppError", "BusyError"]
