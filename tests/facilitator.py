"""A real x402 facilitator over HTTP, and payers with real keys; only the chain is a table of balances.

Signatures, typed data and checks are those of the official SDK. Faults are switched on one call at a time.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from eth_abi import decode, encode
from eth_account import Account
from eth_utils import function_signature_to_4byte_selector as selector_of
from x402 import x402Client, x402Facilitator
from x402.http.utils import decode_payment_required_header, encode_payment_signature_header
from x402.mechanisms.evm import EthAccountSigner
from x402.mechanisms.evm.exact import ExactEvmClientScheme, ExactEvmFacilitatorScheme
from x402.mechanisms.evm.types import TransactionReceipt
from x402.schemas import PaymentPayload, PaymentRequirements

sys.setrecursionlimit(1000)  # Python's own; py_ecc, which came with the above, sets 100,000

NETWORK = "eip155:84532"
CHAIN_ID = 84532
TOKEN = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
BALANCE_OF, NAME, VERSION, STATE = (
    selector_of(text) for text in ("balanceOf(address)", "name()", "version()", "authorizationState(address,bytes32)")
)
PAYEE = "0x00000000000000000000000000000000000000Aa"


@dataclass
class Chain:
    """A token's balances and used nonces, as the facilitator sees a chain."""

    balances: Counter[str] = field(default_factory=Counter)
    used: set[tuple[str, bytes]] = field(default_factory=set)
    transfers: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    receipts_fail: int = 0

    def get_addresses(self) -> list[str]:
        return ["0x00000000000000000000000000000000000000Fa"]

    def get_chain_id(self) -> int:
        return CHAIN_ID

    def get_code(self, address: str) -> bytes:
        return b"\x01" if address.lower() == TOKEN.lower() else b""

    def read_contract(self, _address: str, _abi: Any, function_name: str, *args: Any) -> Any:
        if function_name == "transferWithAuthorization":
            return self._check(*args)
        if function_name == "tryAggregate":
            return [(True, self._answer(data)) for _, data in args[1]]
        raise NotImplementedError(function_name)

    def _answer(self, data: bytes) -> bytes:
        selector, rest = data[:4], data[4:]
        if selector == BALANCE_OF:
            return encode(["uint256"], [self.balances[decode(["address"], rest)[0].lower()]])
        if selector == STATE:
            holder, nonce = decode(["address", "bytes32"], rest)
            return encode(["bool"], [(holder.lower(), nonce) in self.used])
        return encode(["string"], ["USDC" if selector == NAME else "2"])

    def _check(self, payer: str, to: str, value: int, after: int, before: int, nonce: bytes, *_: Any) -> None:
        del to, after, before
        if (payer.lower(), nonce) in self.used:
            raise RuntimeError("execution reverted: authorization is used")
        if self.balances[payer.lower()] < value:
            raise RuntimeError("execution reverted: transfer amount exceeds balance")

    def write_contract(self, _address: str, _abi: Any, _name: str, *args: Any, data_suffix: Any = None) -> str:
        del data_suffix
        payer, to, value, _, _, nonce = args[:6]
        with self.lock:
            self._check(*args)
            self.used.add((payer.lower(), nonce))
            self.balances[payer.lower()] -= value
            self.balances[to.lower()] += value
            transaction = "0x" + secrets.token_hex(32)
            self.transfers[transaction] = (payer, to, value)
        return transaction

    def wait_for_transaction_receipt(self, tx_hash: str) -> TransactionReceipt:
        if self.receipts_fail:
            self.receipts_fail -= 1
            raise TimeoutError("no receipt yet")
        payer, to, value = self.transfers[tx_hash]
        topics = [TRANSFER_TOPIC, *("0x" + side[2:].lower().zfill(64) for side in (payer, to))]
        log = {"address": TOKEN, "topics": topics, "data": f"{value:064x}"}
        return TransactionReceipt(1, 1, tx_hash, [log])


class Facilitator:
    """`/verify` and `/settle` in a thread of the test's process."""

    def __init__(self) -> None:
        self.chain = Chain()
        self.url = ""
        self.asked: Counter[str] = Counter()
        self.faults: list[str] = []
        """What goes wrong with the next settlements: `lost` (it happens, the answer does not come), `error` (500 and
        nothing happens), `html`, `redirect`, or `` for none."""
        self.authorizations: list[str] = []
        self._real = x402Facilitator()
        self._real.register([NETWORK], ExactEvmFacilitatorScheme(self.chain))
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Facilitator:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def paid(self) -> int:
        """Units that have arrived."""
        return self.chain.balances[PAYEE.lower()]

    async def _verify(self, request: web.Request) -> web.Response:
        self.asked["verify"] += 1
        self.authorizations.append(request.headers.get("Authorization", ""))
        payload, terms = await self._read(request)
        answer = await self._real.verify(payload, terms)
        return web.Response(body=answer.model_dump_json(by_alias=True), content_type="application/json")

    async def _settle(self, request: web.Request) -> web.Response:
        self.asked["settle"] += 1
        fault = self.faults.pop(0) if self.faults else ""
        payload, terms = await self._read(request)
        if fault == "error":
            return web.Response(status=500, text="no luck")
        if fault == "redirect":
            return web.Response(status=307, headers={"Location": f"{self.url}/elsewhere"})
        answer = await self._real.settle(payload, terms)
        if fault == "lost":
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if fault == "html":
            return web.Response(text="<html>", content_type="text/html")
        return web.Response(body=answer.model_dump_json(by_alias=True), content_type="application/json")

    async def _elsewhere(self, _request: web.Request) -> web.Response:
        self.asked["elsewhere"] += 1
        return web.json_response({"success": True, "transaction": "0x1", "network": NETWORK})

    @staticmethod
    async def _read(request: web.Request) -> tuple[PaymentPayload, PaymentRequirements]:
        body = await request.json()
        return (
            PaymentPayload.model_validate(body["paymentPayload"]),
            PaymentRequirements.model_validate(body["paymentRequirements"]),
        )

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_post("/verify", self._verify)
        app.router.add_post("/settle", self._settle)
        app.router.add_post("/elsewhere", self._elsewhere)
        runner = web.AppRunner(app, access_log=None)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())


class Payer:
    """Somebody with a wallet, who signs what a 402 asks for as the official client does."""

    def __init__(self, chain: Chain, units: int) -> None:
        account = Account.create()
        self.address = str(account.address)
        chain.balances[self.address.lower()] = units
        self._client = x402Client()
        self._client.set_spend_controls(False)
        self._client.register(NETWORK, ExactEvmClientScheme(EthAccountSigner(account)))

    def sign(self, required_header: str) -> str:
        """PAYMENT-SIGNATURE for a PAYMENT-REQUIRED."""
        required = decode_payment_required_header(required_header)
        payload = asyncio.run(self._client.create_payment_payload(required))  # type: ignore[arg-type]
        return encode_payment_signature_header(payload)
