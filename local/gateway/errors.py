"""The ways in which an integration, or the function behind it, gives no usable answer."""

from __future__ import annotations

from . import refusals
from .refusals import Refusal


class IntegrationError(Exception):
    """Say that an integration gave no usable answer. Base of the ways to fail::

    IntegrationError
    ├── FunctionRaisedError   the function ran and failed
    ├── FunctionTimeoutError  it took longer than the integration may
    ├── NotInvokedError       the Lambda API refused, or could not be reached
    ├── UnreachableError      the integration is of a kind that is not served here
    └── BadAnswerError        the answer, or a template, is not one that API Gateway takes

    ``error_message`` is in the function's own words, which may repeat what a client sent.
    """

    refusal: Refusal = refusals.FAILED
    error_message: str = ""


class FunctionRaisedError(IntegrationError):
    """Carry the function's ``errorType`` and ``errorMessage``, which clients never see.

    ``details`` is the whole payload, of which a mapping template may use more.
    """

    def __init__(self, error_type: str, error_message: str, details: object = None) -> None:
        super().__init__(error_type)
        self.error_message = error_message
        self.details = details


class FunctionTimeoutError(IntegrationError):
    """Say that the integration timeout passed."""

    refusal = refusals.TIMED_OUT


class NotInvokedError(IntegrationError):
    """Say that the function did not run."""


class UnreachableError(IntegrationError):
    """Say which integration it is that is not served here."""


class BadAnswerError(IntegrationError):
    """Say what is wrong with the answer."""
