"""The two routes that wait, written with async def for Quart instead of patched for gevent.

Run it in the step's folder: uvicorn --port 8002 alternatives.quart_app:app
"""

import asyncio
import os

from quart import Quart

SUPPLIER_DELAY = float(os.getenv("SUPPLIER_DELAY", "0.1"))  # seconds

app = Quart(__name__)


@app.get("/")
async def index():
    return {"step": "step02_gevent", "technique": "Quart: requests wait side by side"}


@app.get("/async")
async def supplier():
    await asyncio.sleep(SUPPLIER_DELAY)  # time.sleep would block every client
    return {"message": "This is an asynchronous API response!"}
