"""The one error that a user sees without a traceback."""


class UserError(Exception):
    """Something the user can mend: the message says what, which value, where, and the fix.

    The command line prints it without a traceback and exits with 2.
    """
