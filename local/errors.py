"""What can keep the local run from working; each message tells what to do."""


class LocalRunError(Exception):
    """A problem that is shown to the user as one message, without a traceback."""
