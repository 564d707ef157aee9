"""Requests that the shop must refuse, each with the status of its answer."""

JSON = {"Content-Type": "application/json"}
NUMBER = "99999999999999999999"

# What the case is called: body, headers, status.
BAD_ORDERS = {
    "no body": (b"", JSON, 400),
    "half an object": (b'{"product_id": 7,', JSON, 400),
    "no JSON": (b"product_id=7", JSON, 400),
    "a list": (b"[7, 2]", JSON, 400),
    "null": (b"null", JSON, 400),
    "bytes that are no UTF-8": (b'{"product_id": "\xff\xfe"}', JSON, 400),
    "10,000 brackets": (b"[" * 10000, JSON, 400),
    "something after its end": (b'{"product_id": 7, "quantity": 1} {}', JSON, 400),
    "single quotes": (b"{'product_id': 7, 'quantity': 1}", JSON, 400),
    "a comma too many": (b'{"product_id": 7, "quantity": 1,}', JSON, 400),
    "7,000 brackets as quantity": (
        b'{"product_id": 7, "quantity": ' + b"[" * 7000 + b"]" * 7000 + b"}", JSON, 400
    ),
    "no quantity": (b'{"product_id": 7}', JSON, 400),
    "no product": (b'{"quantity": 1}', JSON, 400),
    "a quantity of 0": (b'{"product_id": 7, "quantity": 0}', JSON, 400),
    "a quantity of -1": (b'{"product_id": 7, "quantity": -1}', JSON, 400),
    "a quantity of 1.5": (b'{"product_id": 7, "quantity": 1.5}', JSON, 400),
    "a quantity of 1e400": (b'{"product_id": 7, "quantity": 1e400}', JSON, 400),
    "a quantity of NaN": (b'{"product_id": 7, "quantity": NaN}', JSON, 400),
    "a quantity of Infinity": (b'{"product_id": 7, "quantity": Infinity}', JSON, 400),
    "a quantity of 1e2": (b'{"product_id": 7, "quantity": 1e2}', JSON, 400),
    "a quantity of true": (b'{"product_id": 7, "quantity": true}', JSON, 400),
    "a quantity of null": (b'{"product_id": 7, "quantity": null}', JSON, 400),
    "a quantity as text": (b'{"product_id": 7, "quantity": "2"}', JSON, 400),
    "a quantity as text with a space": (b'{"product_id": 7, "quantity": " 2"}', JSON, 400),
    "a quantity as object": (b'{"product_id": 7, "quantity": {"$gt": 0}}', JSON, 400),
    "a quantity as list": (b'{"product_id": 7, "quantity": [2]}', JSON, 400),
    "a product as text": (b'{"product_id": "7; DROP TABLE orders", "quantity": 1}', JSON, 400),
    "a negative product": (b'{"product_id": -7, "quantity": 1}', JSON, 400),
    "a number of 5,000 digits": (
        b'{"product_id": 7, "quantity": ' + b"9" * 5000 + b"}", JSON, 400
    ),
    "a product of 20 digits": (f'{{"product_id": {NUMBER}, "quantity": 1}}'.encode(), JSON, 404),
    "a quantity of 20 digits": (f'{{"product_id": 7, "quantity": {NUMBER}}}'.encode(), JSON, 409),
    "no content type": (b'{"product_id": 7, "quantity": 1}', {}, 415),
    "a content type of text/plain": (
        b'{"product_id": 7, "quantity": 1}', {"Content-Type": "text/plain"}, 415
    ),
    "a content type of JSON lines": (
        b'{"product_id": 7, "quantity": 1}', {"Content-Type": "application/jsonl"}, 415
    ),
    "a form": (
        b"product_id=7&quantity=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415
    ),
    "16,385 bytes": (b'{"product_id": 7, "quantity": 1}'.ljust(16385), JSON, 413),
    "20,000 bytes": (b'{"product_id": 7, "quantity": 1' + b" " * 20000 + b"}", JSON, 413),
}  # fmt: skip

BAD_ROUTES = [
    ("GET", "/nothing-here", 404),
    ("GET", "/products", 404),
    ("GET", "/products/seven", 404),
    ("GET", "/products/-1", 404),
    ("GET", "/products/7.5", 404),
    ("GET", "/products/" + "7" * 3000, 404),
    ("GET", "/products/%D9%A3", 404),  # three, as Arabic writes it
    ("GET", "/quote/%EF%BC%97", 404),  # seven, as wide as a Chinese character
    ("GET", "/products/7_0", 404),
    ("GET", "/products/+7", 404),
    ("GET", "/products/%207", 404),
    ("GET", "/products/7%0A", 404),
    ("GET", "/products/0x7", 404),
    ("GET", "/products/7e0", 404),
    ("GET", "/products/7/stock", 404),
    ("GET", "/products/%00", 404),
    ("GET", "/products/%ff%fe", 404),
    ("GET", "/orders/" + "9" * 40, 404),
    ("GET", "/../../etc/passwd", 404),
    ("GET", "/products//7", 404),
    ("GET", "/app.py", 404),
    ("GET", "/static/app.py", 404),
    ("GET", "/static/", 404),
    ("GET", "/console", 404),  # of Werkzeug's debugger
    ("GET", "/.env", 404),
    ("POST", "/", 405),
    ("DELETE", "/products/7", 405),
    ("PUT", "/data", 405),
    ("GET", "/orders", 405),
]

INJECTIONS = ["0 OR id=7", "7;SELECT pg_sleep(0)", "7--", "7'", "(SELECT 7)", "7 UNION SELECT 1"]

IDEMPOTENCY_KEYS = {
    "that is empty": "",
    "of 256 letters": "k" * 256,
    "with a space": "two words",
    "with a letter that is no ASCII": "sch\u00f6n".encode(),
    "with a control character": "a\tb",
}
