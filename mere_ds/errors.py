"""The one error that is the user's to mend."""


class UserError(ValueError):
    """Bad input, a bad flag or a bad file: shown as one line that says what to do, with exit code 2.

    Everything else that is raised is a defect of this package and keeps its traceback.
    """
