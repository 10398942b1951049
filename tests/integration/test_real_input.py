"""What people really bring: generated projects that serve HTTPS, and RabbitMQ with a real client."""

from __future__ import annotations

import hashlib
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika
import pytest

from unibeam_nb.lab import Lab
from unibeam_nb.machine import Machine

MESSAGES = 1000


@contextmanager
def booted(lab: Lab, name: str, **options: Any) -> Iterator[Machine]:
    machine = lab.boot(name, **options)
    try:
        yield machine
    finally:
        machine.stop()


def https(machine: Machine) -> str:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with urllib.request.urlopen(f"https://127.0.0.1:{machine.ports[8443]}/", context=context, timeout=60) as answer:
        return answer.read().decode()  # type: ignore[no-any-return]


def test_a_generated_rebar3_release_serves_https_from_inside_the_guest(lab: Lab, rebar3_release: Path) -> None:
    lab.build("web-secure", path=rebar3_release, ports=(8443,))
    with booted(lab, "web-secure", http="https:8443/", mem_mb=256) as machine:
        assert https(machine) == hashlib.sha256(b"unibeam").hexdigest().upper()
        assert [m for m in machine.marks if m != "vmm"] == ["spawn", "kernel", "init", "beam", "app", "http"]


def test_a_generated_mix_project_serves_https_from_inside_the_guest(lab: Lab, mix_project: Path) -> None:
    lab.build("shop", path=mix_project, ports=(8443,))
    with booted(lab, "shop", http="https:8443/", mem_mb=256) as machine:
        assert https(machine) == hashlib.sha256(b"unibeam").hexdigest().upper()


@pytest.mark.slow
def test_rabbitmq_in_a_machine_image_loses_none_of_a_thousand_messages(lab: Lab, rabbitmq: Path) -> None:
    build = lab.build("rabbitmq", path=rabbitmq, ports=(5672,))
    assert "rabbit" in {application.name for application in build.release.applications}
    with booted(lab, "rabbitmq", http="tcp:5672", mem_mb=1024, deadline=300.0) as machine:
        parameters = pika.ConnectionParameters(
            "127.0.0.1", machine.ports[5672], heartbeat=0, socket_timeout=60, stack_timeout=120,
            blocked_connection_timeout=120)
        connection = pika.BlockingConnection(parameters)
        channel = connection.channel()
        channel.queue_declare("work", durable=True)
        channel.confirm_delivery()
        sent = [f"message {number}" for number in range(MESSAGES)]
        for body in sent:
            channel.basic_publish("", "work", body.encode(), pika.BasicProperties(delivery_mode=2), mandatory=True)
        received = []
        for method, _properties, body in channel.consume("work", auto_ack=False, inactivity_timeout=60):
            if method is None:
                break
            received.append(body.decode())
            channel.basic_ack(method.delivery_tag)
            if len(received) == MESSAGES:
                break
        channel.cancel()
        left = channel.queue_declare("work", durable=True, passive=True).method.message_count
        connection.close()
    assert received == sent
    assert left == 0
