"""Connect the rooms of the laptop cloud and serve them until a signal arrives."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from cloud import hooks
from cloud.apigateway import hooks as apigateway_hooks
from cloud.autoscaling.operations import AutoScaling
from cloud.autoscaling.services import EndpointVariants, ProvisionedConcurrency, call_lambda
from cloud.batch.api import BatchApi
from cloud.cloudcontrol import operations as cloudcontrol
from cloud.cloudformation import batch_resources, resources, scaling_resources
from cloud.cloudformation import hooks as cloudformation_hooks
from cloud.cloudwatch import hooks as cloudwatch_hooks
from cloud.cloudwatch.alarms import Alarms
from cloud.codebuild import builds
from cloud.cognito import hooks as cognito_hooks
from cloud.core import emulator, members, processes, root_key
from cloud.core.protocol import JsonApi, Response
from cloud.ecr import scans
from cloud.ecr.images import Images
from cloud.events import hooks as events_hooks
from cloud.iam import authorization
from cloud.iam import hooks as iam_hooks
from cloud.lambda_images import hooks as lambda_images_hooks
from cloud.lambda_states import hooks as lambda_states_hooks
from cloud.lambdas import hooks as lambdas_hooks
from cloud.logs import embedded
from cloud.logs import hooks as logs_hooks
from cloud.s3 import hooks as s3_hooks
from cloud.sagemaker.endpoints.operations import Endpoints
from cloud.sagemaker.endpoints.router import Router
from cloud.sagemaker.jobs.job import JobContext
from cloud.sagemaker.jobs.operations import JobOperations
from cloud.sagemaker.jobs.processing import ProcessingJob
from cloud.sagemaker.jobs.training import TrainingJob
from cloud.sagemaker.registry import Models, Packages
from cloud.sagemaker.store import Store
from cloud.sagemaker.tuning.operations import TuningOperations
from cloud.servicequotas.operations import ServiceQuotas
from cloud.sns import hooks as sns_hooks
from cloud.stepfunctions import tasks

HOST = "127.0.0.1"


def install(home: Path) -> Endpoints:
    """Add SageMaker, Application Auto Scaling and Batch to MiniStack and change what differs from AWS.

    Args:
        home: Folder for the files of jobs, images and logs.

    Returns:
        SageMaker's endpoints, which ``serve`` closes at the end.
    """
    hooks.check()
    authorization.install(home, root_key.make(home))
    store = Store(emulator.scope)
    images = Images(home)
    context = JobContext(home, images, store)
    models, packages = Models(store, images), Packages(store)
    endpoints = Endpoints(store, models, home, images)
    alarms = Alarms(endpoints.closing)
    scalable = (EndpointVariants(endpoints.find, endpoints.resize), ProvisionedConcurrency(call_lambda))
    scaling = AutoScaling(emulator.scope, scalable, alarms)
    endpoints.is_scaled, alarms.scale = scaling.is_registered, scaling.trigger
    emulator.spawn_thread(alarms.run, name="alarms")
    authorizer = authorization.Authorizer(endpoints.config_of)
    trainings = JobOperations(TrainingJob, context)
    sagemaker = JsonApi(
        emulator.service_model("sagemaker"),
        {
            **trainings.table(),
            **TuningOperations(context, trainings, endpoints.closing).table(),
            **JobOperations(ProcessingJob, context).table(),
            **models.table(),
            **packages.table(),
            **endpoints.table(),
            **store.operations(),
        },
        known=members.read("sagemaker"),
        tag=store.tag,
        authorize=authorizer.check,
    )
    scaling_model = emulator.service_model("application-autoscaling")
    scaling_api = JsonApi(scaling_model, scaling.table(), members.read("autoscaling"), authorize=authorizer.check)
    router = Router(endpoints, account=lambda: emulator.scope()[1], authorize=authorizer.check)

    async def handle_sagemaker(method: str, path: str, *rest: Any) -> Response:
        # Clients sign requests to SageMaker and to its runtime with the same service name, by which MiniStack routes.
        handle = router.handle_request if path.startswith("/endpoints/") else sagemaker.handle_request
        return await handle(method, path, *rest)

    emulator.add_service("sagemaker", "SageMaker.", handle_sagemaker)
    emulator.add_service("application-autoscaling", "AnyScaleFrontendService.", scaling_api.handle_request)
    batch = BatchApi(home, images, iam_hooks.role_of_instance, authorizer.check)
    emulator.add_service("batch", "AWSBatch_V20160810.", batch.handle_request)
    emulator.refuse_missing_services()
    control_model = emulator.service_model("cloudcontrol")
    control = JsonApi(control_model, cloudcontrol.table(), members.read("cloudcontrol"), authorize=authorizer.check)
    emulator.add_service("cloudcontrol", "CloudApiService.", control.handle_request)
    quotas_model, quotas_table = emulator.service_model("service-quotas"), ServiceQuotas(emulator.scope).table()
    quotas_api = JsonApi(quotas_model, quotas_table, members.read("servicequotas"), authorize=authorizer.check)
    emulator.add_service("servicequotas", "ServiceQuotasV20190624.", quotas_api.handle_request)
    apigateway_hooks.install(logs_hooks.write_line, lambdas_hooks.put_metric)
    cognito_hooks.keep_sessions()
    cognito_hooks.know_addresses_of_apis(int(os.environ["GATEWAY_PORT"]))
    s3_hooks.keep_full_buckets()
    s3_hooks.encrypt_buckets()
    s3_hooks.name_contents()
    sns_hooks.complete_topics()
    events_hooks.check_rates()
    events_hooks.scale_rates()
    cloudformation_hooks.pass_parameters_to_sam()
    cloudformation_hooks.describe_stacks()
    _complete_functions(images, home)
    cloudwatch_hooks.keep_old_metrics()
    cloudwatch_hooks.evaluate_expressions()
    logs_hooks.record_embedded_metrics(embedded.metrics_in)
    tasks.install(sagemaker, batch.call, authorizer)
    _complete_templates(sagemaker, batch, scaling_api)
    _complete_builds(images, home)
    emulator.limit_members("states", "stepfunctions", "ValidationException")
    return endpoints


def _complete_functions(images: Images, home: Path) -> None:
    """Let Lambda run functions in containers, from archives and images, and tell of them as AWS does."""
    lambdas_hooks.contain_functions(home)
    lambdas_hooks.name_function_errors()
    lambdas_hooks.measure_functions()
    lambdas_hooks.find_layers_by_arn()
    lambdas_hooks.limit_concurrency()
    lambdas_hooks.weigh_aliases()
    lambdas_hooks.delete_urls_with_functions()
    lambda_images_hooks.run_images(images, home, authorization.policy_for_lambda)
    lambda_states_hooks.follow_states()


def _complete_templates(sagemaker: JsonApi, batch: BatchApi, scaling: JsonApi) -> None:
    """Let templates contain what MiniStack lacks."""
    resources.install(sagemaker)
    batch_resources.install(batch.call)
    scaling_resources.install(scaling.call)
    cloudformation_hooks.limit_names()


def _complete_builds(images: Images, home: Path) -> None:
    """Let CodeBuild build images, and ECR answer about their scans."""
    builds.install(images, home)
    scans.install()
    emulator.limit_members("codebuild", "codebuild", "InvalidInputException")


async def serve(port: int, endpoints: Endpoints) -> None:
    """Serve on loopback and print one line when ready; when a signal arrives, end every child process."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = asyncio.create_task(emulator.serve(HOST, port, stop))
    while not server.done() and not await _accepts_connections(port):
        await asyncio.sleep(0.02)
    if not server.done():
        region, _ = emulator.scope()
        print(f"The laptop cloud answers at http://localhost:{port} (region {region})", flush=True)
        await stop.wait()
    try:
        endpoints.closing.set()
        # The children end before the server. A request in flight ends with the child that answers it, so it cannot
        # delay the server's end.
        await asyncio.to_thread(processes.end_all, 4.0)
        await asyncio.to_thread(lambdas_hooks.stop_lambda_workers)
    finally:
        await server


async def _accepts_connections(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


def run(port: int, home: Path) -> None:
    """Run the cloud in this process until SIGINT or SIGTERM; all child processes have ended when it returns."""
    processes.start_guard()
    # Lambda workers inherit the mark. It is set after the guard's start, because the guard must not end itself.
    os.environ[processes.MARK] = processes.mark_of("lambda")
    endpoints = install(home)
    asyncio.run(serve(port, endpoints))
