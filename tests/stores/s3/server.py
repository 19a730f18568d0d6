"""Runs a local S3 (moto) with one bucket, lake, until standard input ends. Arguments: a port; a file, to which it writes the
credentials that requests need; and commands that it runs before it listens. Then it runs commands from standard input, and
prints "ok" after each: "put LOCAL KEY" for a file or folder, or "delete PREFIX"."""

import os
import pathlib
import sys

# Requests that need no credentials: those that create them.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "3"

import boto3
from moto import mock_aws
from moto.server import ThreadedMotoServer

port, credentials = int(sys.argv[1]), pathlib.Path(sys.argv[2])


def client(service, key, secret, **where):
    return boto3.client(
        service, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1", **where
    )


def run(s3, line):
    command, *words = line.split()
    if command == "put":
        local, target = pathlib.Path(words[0]), words[1]
        files = [file for file in local.rglob("*") if file.is_file() and not file.name.startswith(".")]
        for file in [local] if local.is_file() else files:
            name = target if local.is_file() else f"{target}/{file.relative_to(local)}"
            s3.put_object(Bucket="lake", Key=name, Body=file.read_bytes())
    elif command == "delete":
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket="lake", Prefix=words[0]):
            for found in page.get("Contents", []):
                s3.delete_object(Bucket="lake", Key=found["Key"])
    else:
        raise ValueError(line)


# Before it listens, no other client's request counts as one of those without credentials.
mock = mock_aws()
mock.start()
iam = client("iam", "a", "b")
iam.create_user(UserName="offsetd")
policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'
iam.put_user_policy(UserName="offsetd", PolicyName="all", PolicyDocument=policy)
access = iam.create_access_key(UserName="offsetd")["AccessKey"]
key, secret = access["AccessKeyId"], access["SecretAccessKey"]
credentials.write_text(f'access_key_id = "{key}"\nsecret_access_key = "{secret}"\n')
s3 = client("s3", key, secret)
s3.create_bucket(Bucket="lake")
for line in sys.argv[3:]:
    run(s3, line)
mock.stop(remove_data=False)

server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
server.start()
s3 = client("s3", key, secret, endpoint_url=f"http://127.0.0.1:{port}")
print("ok", flush=True)
for line in sys.stdin:
    run(s3, line)
    print("ok", flush=True)
server.stop()
