"""What the server answers when it will not or cannot: a code and parameters, as XenAPI has them."""


class Failure(Exception):
    """An error of XenAPI; clients see `[code, *params]`."""

    def __init__(self, code: str, *params: object) -> None:
        self.code = code
        self.params = tuple(str(param) for param in params)
        super().__init__(code, *self.params)

    @property
    def description(self) -> tuple[str, ...]:
        """Return the code and its parameters as one set."""
        return (self.code, *self.params)
