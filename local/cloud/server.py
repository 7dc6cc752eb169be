"""The parts put together, and served until a signal comes."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from local.cloud import cloudformation, codebuild, iam, metrics, ministack, processes, stepfunctions
from local.cloud.alarms import Alarms
from local.cloud.api import JsonApi, Response
from local.cloud.autoscaling import AutoScaling
from local.cloud.endpoints import Endpoints
from local.cloud.images import Images
from local.cloud.jobs import Context, JobOperations
from local.cloud.processing import ProcessingJob
from local.cloud.registry import Models, Packages
from local.cloud.router import Router
from local.cloud.store import Store
from local.cloud.training import TrainingJob

HOST = "127.0.0.1"


def install(home: Path) -> Endpoints:
    """Plug SageMaker and Application Auto Scaling into MiniStack."""
    ministack.check_hooks()
    iam.install(home)
    store = Store(ministack.scope)
    images = Images(home)
    context = Context(home, images, store)
    models, packages = Models(store, images), Packages(store)
    endpoints = Endpoints(store, models, home, images)
    alarms = Alarms(endpoints.closing)
    scaling = AutoScaling(ministack.scope, endpoints.find, endpoints.resize, alarms)
    endpoints.is_scaled, alarms.scale = scaling.is_registered, scaling.trigger
    ministack.spawn_thread(alarms.run, name="alarms")
    gate = iam.Gate(endpoints.config_of)
    sagemaker = JsonApi(
        ministack.service_model("sagemaker"),
        {
            **JobOperations(TrainingJob, context).table(),
            **JobOperations(ProcessingJob, context).table(),
            **models.table(),
            **packages.table(),
            **endpoints.table(),
            **store.operations(),
        },
        tag=store.tag,
        authorize=gate.check,
    )
    scaling_model = ministack.service_model("application-autoscaling")
    scaling_api = JsonApi(scaling_model, scaling.table(), authorize=gate.check)
    router = Router(endpoints, account=lambda: ministack.scope()[1], authorize=gate.check)

    async def either(method: str, path: str, *rest: Any) -> Response:
        # SageMaker and its runtime sign with one scope, by which MiniStack routes.
        handle = router.handle_request if path.startswith("/endpoints/") else sagemaker.handle_request
        return await handle(method, path, *rest)

    ministack.add_service("sagemaker", "SageMaker.", either)
    ministack.add_service("application-autoscaling", "AnyScaleFrontendService.", scaling_api.handle_request)
    ministack.complete_rest_apis()
    ministack.leave_urls_of_functions_alone()
    ministack.keep_full_buckets()
    ministack.tell_sam_the_parameters()
    ministack.name_function_errors()
    ministack.keep_metrics()
    ministack.find_embedded_metrics(metrics.embedded)
    stepfunctions.install(sagemaker, gate)
    cloudformation.install(sagemaker)
    codebuild.install(images, home)
    return endpoints


async def serve(port: int, endpoints: Endpoints) -> None:
    """Serve on loopback; print one line when ready; end everything started when a signal comes."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = asyncio.create_task(ministack.serve(HOST, port, stop))
    while not server.done() and not await _listens(port):
        await asyncio.sleep(0.02)
    if not server.done():
        region, _ = ministack.scope()
        print(f"The laptop cloud answers at http://localhost:{port} (region {region})", flush=True)
        await stop.wait()
    try:
        endpoints.closing.set()
        # First the children: a request in flight must not keep the server, nor the server them.
        await asyncio.to_thread(processes.end_marked, processes.mark_of(), 4.0)
        await asyncio.to_thread(ministack.stop_lambda_workers)
    finally:
        await server


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


def run(port: int, home: Path) -> None:
    """Run the cloud in this process until SIGINT or SIGTERM; no child is left."""
    processes.start_guard()
    # Lambda workers inherit it; set after the guard is started, which must not end itself.
    os.environ[processes.MARK] = processes.mark_of("lambda")
    endpoints = install(home)
    asyncio.run(serve(port, endpoints))
