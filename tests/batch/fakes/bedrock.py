"""A fake of Bedrock's batch inference, with S3. Its shapes are those of botocore 1.44, whose clients read them.

It checks the signature of each request, and each job that is created against botocore's service model.
"""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from aiohttp import web
from botocore.session import Session  # pyright: ignore[reportMissingTypeStubs]
from botocore.validate import ParamValidator  # pyright: ignore[reportMissingTypeStubs]

from tests.batch.fakes.jobs import FakeJobs, Job, rfc3339
from tests.boto import KEY_ID, REGION, SECRET, signature
from tests.recorder import CONVERSED, Sent

ARN = f"arn:aws:bedrock:{REGION}:123456789012:model-invocation-job/"
ROLE = "arn:aws:iam::123456789012:role/batch"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION}


class FakeBedrockBatches(FakeJobs):
    """`url`: the URL of both services.

    Attributes:
        objects: The contents of objects, by bucket and key.
        single: The questions that were asked in single requests.
        least_rows: Jobs with fewer records fail.
        may_list: Whether the role of the client may list objects.
        home: The region of the bucket.
    """

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[tuple[str, str], bytes] = {}
        self.tokens: dict[str, Job] = {}
        self.single: list[str] = []
        self.least_rows, self.may_list, self.home = 1, True, REGION

    @property
    def url(self) -> str:
        return self.root

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/model-invocation-job", self._create),
            web.get("/model-invocation-jobs", self._list),
            web.post("/model/{model}/converse", self._converse),
            web.get("/model-invocation-job/{arn}", self._get),
            web.post("/model-invocation-job/{arn}/stop", self._stop),
            web.put("/s3/{bucket}/{key:.+}", self._put),
            web.get("/s3/{bucket}/{key:.+}", self._download),
            web.get("/s3/{bucket}", self._list_objects),
            web.get("/s3/{bucket}/", self._list_objects),
        ]

    # Bedrock

    async def _create(self, request: web.Request) -> web.Response:
        if (refusal := await self._refusal(request)) is not None:
            return refusal
        asked = await request.json()
        if problem := _problem(asked):
            return _error(400, "ValidationException", problem)
        if asked["clientRequestToken"] in self.tokens:
            return self.created({"jobArn": self.tokens[asked["clientRequestToken"]].id})
        if any(job.name == asked["jobName"] for job in self.jobs.values()):
            return _error(409, "ConflictException", "a job with this name exists")
        bucket, _, key = asked["inputDataConfig"]["s3InputDataConfig"]["s3Uri"].removeprefix("s3://").partition("/")
        lines = [json.loads(line) for line in self.objects[bucket, key].splitlines()]
        assert key.endswith(".jsonl")
        assert all(set(line) == {"recordId", "modelInput"} for line in lines)
        rows = [(line["recordId"], line["modelInput"]) for line in lines]
        job = self.new_job(f"{ARN}{len(self.jobs):012}", asked["jobName"], rows, "Submitted", asked)
        self.tokens[asked["clientRequestToken"]] = job
        if len(rows) < self.least_rows:
            job.end("Failed")
        return self.created({"jobArn": job.id})

    async def _list(self, request: web.Request) -> web.Response:
        if (refusal := await self._refusal(request)) is not None:
            return refusal
        name, size = request.query.get("nameContains", ""), int(request.query.get("maxResults", "2"))
        jobs = [job for job in self.jobs.values() if name in job.name][::-1]
        start = int(request.query.get("nextToken", "0").partition("+")[0])
        page: dict[str, Any] = {
            "invocationJobSummaries": [self.shown(self.polled(job)) for job in jobs[start : start + size]]
        }
        if start + size < len(jobs):
            page["nextToken"] = f"{start + size}+/="
        return web.json_response(page)

    async def _get(self, request: web.Request) -> web.Response:
        if (refusal := await self._refusal(request)) is not None:
            return refusal
        job = self.jobs.get(request.match_info["arn"])
        return (
            web.json_response(self.shown(self.polled(job)))
            if job
            else _error(404, "ResourceNotFoundException", "no such job")
        )

    async def _stop(self, request: web.Request) -> web.Response:
        if (refusal := await self._refusal(request)) is not None:
            return refusal
        self.jobs[request.match_info["arn"]].state = "Stopping"
        return web.json_response({})

    def shown(self, job: Job) -> dict[str, Any]:
        return {
            **{name: value for name, value in job.asked.items() if name not in ("tags", "inputDataConfig")},
            "inputDataConfig": job.asked["inputDataConfig"],
            "jobArn": job.id,
            "status": job.state,
            "submitTime": rfc3339(job.created),
            "lastModifiedTime": rfc3339(job.created),
            "jobExpirationTime": rfc3339(job.created + timedelta(hours=24)),
            "totalRecordCount": len(job.rows),
            "processedRecordCount": job.count("answered") + job.count("errors"),
            "successRecordCount": job.count("answered"),
            "errorRecordCount": job.count("errors"),
            **({"endTime": rfc3339(job.created)} if job.has_ended else {}),
            **({"message": "too few records"} if job.state == "Failed" else {}),
        }

    def write_results(self, job: Job) -> None:
        """Write the results of a job that has ended, and its manifest."""
        uri = job.asked["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        folder = f"{prefix}{job.id.rpartition('/')[2]}"
        self.objects[bucket, f"{folder}/input.jsonl.out"] = job.results(_result)
        self.objects[bucket, f"{folder}/manifest.json.out"] = json.dumps({"totalRecordCount": len(job.rows)}).encode()

    async def _converse(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.single.append(body["messages"][-1]["content"][-1]["text"])
        return web.json_response(_line("", body, "answered")["modelOutput"])

    # S3

    async def _put(self, request: web.Request) -> web.Response:
        if (refusal := await self._refusal(request, "s3")) is not None:
            return refusal
        content = await self.read(request)
        self.objects[request.match_info["bucket"], request.match_info["key"]] = content
        return web.Response(headers={"ETag": '"1"'})

    async def _download(self, request: web.Request) -> web.Response:
        if (refusal := await self._refusal(request, "s3")) is not None:
            return refusal
        content = self.objects.get((request.match_info["bucket"], request.match_info["key"]))
        return web.Response(body=content) if content is not None else _s3_error(404, "NoSuchKey")

    async def _list_objects(self, request: web.Request) -> web.Response:
        if (refusal := await self._refusal(request, "s3")) is not None:
            return refusal
        if not self.may_list:
            return _s3_error(403, "AccessDenied")
        assert request.query["list-type"] == "2"
        bucket, prefix = request.match_info["bucket"], request.query["prefix"]
        keys = sorted(key for where, key in self.objects if where == bucket and key.startswith(prefix))
        start = int(request.query.get("continuation-token", "0"))
        entries = "".join(f"<Contents><Key>{escape(quote(key))}</Key></Contents>" for key in keys[start : start + 1])
        more = f"<NextContinuationToken>{start + 1}</NextContinuationToken>" if start + 1 < len(keys) else ""
        head = f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated><EncodingType>url</EncodingType>"
        body = f'<?xml version="1.0"?><ListBucketResult xmlns="http://x">{head}{more}{entries}</ListBucketResult>'
        return web.Response(text=body, content_type="application/xml")

    async def _refusal(self, request: web.Request, service: str = "bedrock") -> web.Response | None:
        """The refusal of a request whose signature is not valid."""
        is_s3 = service == "s3"
        if is_s3 and self.home != REGION:
            return _s3_error(301, "PermanentRedirect")
        raw = b"" if is_s3 else await request.read()
        path, _, query = request.raw_path.partition("?")
        headers = {**dict(request.headers), "host": request.headers["Host"]}
        sent = Sent(request.method, path, headers, None, query, request.raw_path, raw)
        if "Authorization" not in sent.headers or f"/{REGION}/{service}/" not in sent.headers["Authorization"]:
            return _error(403, "AccessDeniedException", "not signed for this service")
        given, expected = signature(sent)
        if given == expected:
            return None
        return _s3_error(403, "SignatureDoesNotMatch") if is_s3 else _error(403, "InvalidSignatureException", "wrong")


@cache
def _creation() -> Any:
    return Session().get_service_model("bedrock").operation_model("CreateModelInvocationJob")


def _problem(asked: Any) -> str | None:
    """What botocore says about the body of a request."""
    model = _creation()
    report = ParamValidator().validate(asked, model.input_shape)
    unknown = asked.keys() - model.input_shape.members.keys()
    return report.generate_report() or (f"unknown: {unknown}" if unknown else None)


def _result(record_id: str, body: Any, kind: str) -> dict[str, Any] | None:
    return None if kind == "unanswered" else _line(record_id, body, kind)


def _line(record_id: str, body: Any, kind: str) -> dict[str, Any]:
    if kind == "errors":
        error = {"errorCode": 400, "errorMessage": "bad request"}
        return {"recordId": record_id, "modelInput": body, "error": error}
    if "anthropic_version" in body:
        assert "model" not in body
        text = body["messages"][-1]["content"]
        content = [{"type": "text", "text": f"re: {text if isinstance(text, str) else text[-1]['text']}"}]
        output: dict[str, Any] = {"type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn"}
    else:
        assert "toolConfig" not in body
        content = [{"text": f"re: {body['messages'][-1]['content'][-1]['text']}"}]
        output = {**CONVERSED, "output": {"message": {"role": "assistant", "content": content}}}
    return {"recordId": record_id, "modelInput": body, "modelOutput": output}


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status, headers={"x-amzn-ErrorType": f"{kind}:http://x"})


def _s3_error(status: int, code: str) -> web.Response:
    about = f"<Code>{code}</Code><Message>it is {code}</Message><AWSAccessKeyId>{KEY_ID}</AWSAccessKeyId>"
    return web.Response(text=f"<Error>{about}</Error>", status=status, content_type="application/xml")
