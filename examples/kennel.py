# %% [markdown]
# # Kennel by hand, with the SageMaker Python SDK
# After a run of the pipeline: follow a training job, train, tune, deploy and ask, step by step. The same cells run on
# AWS and on the laptop cloud. What they make is named `by-hand`; the last cell deletes it.
# %%
import json
import logging
from mimetypes import guess_type
from time import sleep

import boto3
from sagemaker.core.helper import IamRoleResolver
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.parameter import ContinuousParameter, IntegerParameter
from sagemaker.core.resources import Endpoint, EndpointConfig, Model, ModelPackage, TrainingJob
from sagemaker.core.s3 import S3Downloader
from sagemaker.core.shapes import ContainerDefinition, ProductionVariant
from sagemaker.core.training.configs import Compute
from sagemaker.core.utils.utils import configure_logging
from sagemaker.train.model_trainer import ModelTrainer
from sagemaker.train.tuner import HyperparameterTuner

KENNEL, MINE = "kennel", "by-hand"  # KENNEL is the name of the stack's endpoint.
configure_logging("INFO")  # Without this the SDK shows no job's log.
logging.getLogger("botocore").setLevel("WARNING")
# %% [markdown]
# ## Follow the last training job
# If it still trains, its log comes line by line. Its description says where image, photos and key are.
# %%
job = next(iter(TrainingJob.get_all(name_contains=f"{KENNEL}-", sort_by="CreationTime", sort_order="Descending")))
job.wait(logs=True)
# %% [markdown]
# ## Train on two instances
# The same program and photos with fewer epochs, and with a role that may use this bucket and this key only.
# %%
bucket, key = job.output_data_config.s3_output_path.split("/")[2], job.output_data_config.kms_key_id.split("/")[-1]
session = Session(default_bucket=bucket, default_bucket_prefix=MINE)
role = IamRoleResolver(session).create_execution_role("training", role_name=MINE, s3_resource=bucket, kms_resource=key)
pair = Compute(instance_type=job.resource_config.instance_type, instance_count=2)
image, data = job.algorithm_specification.training_image, job.input_data_config
same = {"sagemaker_session": session, "role": role, "training_image": image, "input_data_config": data}
trainer = ModelTrainer(base_job_name=MINE, compute=pair, hyperparameters=job.hyper_parameters | {"epochs": "5"}, **same)
trainer.train()
# %% [markdown]
# ## Tune: four trials, two at a time
# %%
metric = {"Name": "valid:top1", "Regex": "valid_top1=([0-9.]+)"}
ranges = {"learning_rate": ContinuousParameter(3e-4, 3e-2, "Logarithmic"), "epochs": IntegerParameter(2, 10)}
limits = {"max_jobs": 4, "max_parallel_jobs": 2}
tuner = HyperparameterTuner(trainer, metric["Name"], ranges, [metric], base_tuning_job_name=MINE, **limits)
tuner.tune()
print(tuner.analytics().dataframe()[["TrainingJobName", *ranges, "FinalObjectiveValue"]].to_string(index=False))
# %% [markdown]
# ## Deploy a second endpoint from the newest approved model package
# Until the last cell deletes it, it costs as much by the hour as one instance of the first.
# %%
package = next(iter(ModelPackage.get_all(model_package_group_name=KENNEL, model_approval_status="Approved")))
first = Endpoint.get(KENNEL)
serving = EndpointConfig.get(first.endpoint_config_name).production_variants[0]
container = ContainerDefinition(model_package_name=package.model_package_arn)
role = Model.get(serving.model_name).execution_role_arn
Model.create(model_name=MINE, primary_container=container, execution_role_arn=role)
variant = {"variant_name": "one", "initial_instance_count": 1, "instance_type": serving.instance_type}
EndpointConfig.create(endpoint_config_name=MINE, production_variants=[ProductionVariant(model_name=MINE, **variant)])
second = Endpoint.create(endpoint_name=MINE, endpoint_config_name=MINE)
second.wait_for_status("InService")
# %% [markdown]
# ## Ask both about photos of known breeds, which lie beside the evaluation's report
# %%
golden = package.inference_specification.containers[0].model_data_url.replace("artifact/model.tar.gz", "report/golden/")
for known in json.loads(S3Downloader.read_file(golden + "golden.json", session)):
    photo = S3Downloader.read_bytes(golden + known["photo"], session)
    kind = guess_type(known["photo"])[0]
    answers = [json.loads(each.invoke(body=photo, content_type=kind).body.read()) for each in (first, second)]
    print(f"{known['breed']:24}", *(f"{answer['breed']:>24} {answer['probability']:6.1%}" for answer in answers))
# %% [markdown]
# ## Clean up, also after a cell that failed, or after a restart: it needs the first cell alone
# The endpoint goes first, because it costs by the hour. A job that still trains is stopped. An error here means that
# something is left: run the cell again.
# %%
sm, iam = boto3.client("sagemaker"), boto3.client("iam")


def names(kind, word, **only):
    answer = getattr(sm, f"list_{kind}s")(NameContains=MINE, **only)
    found = [each[f"{word}Name"] for value in answer.values() if isinstance(value, list) for each in value]
    return [name for name in found if f"{name}-".startswith(f"{MINE}-")]


for kind, word in {"endpoint": "Endpoint", "endpoint_config": "EndpointConfig", "model": "Model"}.items():
    for name in names(kind, word):
        while kind == "endpoint" and sm.describe_endpoint(EndpointName=name)["EndpointStatus"] == "Creating":
            sleep(5)  # SageMaker deletes no endpoint that it still creates.
        getattr(sm, f"delete_{kind}")(**{f"{word}Name": name})
        if kind == "endpoint":
            sm.get_waiter("endpoint_deleted").wait(EndpointName=name)
for kind, word in {"hyper_parameter_tuning_job": "HyperParameterTuningJob", "training_job": "TrainingJob"}.items():
    for name in names(kind, word, StatusEquals="InProgress"):
        getattr(sm, f"stop_{kind}")(**{f"{word}Name": name})
for last in sm.list_training_jobs(NameContains=f"{KENNEL}-", SortOrder="Descending")["TrainingJobSummaries"][:1]:
    path = sm.describe_training_job(TrainingJobName=last["TrainingJobName"])["OutputDataConfig"]["S3OutputPath"]
    boto3.resource("s3").Bucket(path.split("/")[2]).objects.filter(Prefix=f"{MINE}/").delete()
roles = [role["RoleName"] for page in iam.get_paginator("list_roles").paginate() for role in page["Roles"]]
if any(role.startswith(MINE) for role in roles):
    IamRoleResolver().delete_execution_role("training", role_name=MINE)
