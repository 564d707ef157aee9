"""Many requests at once, in the background of a check."""

import threading

from blackbox import Answer, Request


class Burst:
    """Requests sent at once, in the background."""

    def __init__(self, app, requests: list[Request]):
        self.found: list[Answer | None] = []
        self.thread = threading.Thread(target=lambda: self.found.extend(app.together(requests)[0]))
        self.thread.start()

    def over(self, seconds: float) -> bool:
        """Whether all are answered within that time."""
        self.thread.join(seconds)
        return not self.thread.is_alive()

    def answers(self) -> list[Answer | None]:
        self.thread.join()
        return self.found


def order_request(app, product) -> Request:
    """One item of a product, or an order as it is given."""
    body = {"product_id": product["id"], "quantity": 1} if "id" in product else product
    return Request("POST", "/orders", body, app.authorization())
