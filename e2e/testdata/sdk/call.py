"""Makes calls by the official SDKs, as told in JSON on standard input, a result a line.

An SDK keeps its own defaults, retries included: what it does with an answer is what is tested.
"""
import json
import sys
import time

import anthropic
import openai

MESSAGES = [{"role": "user", "content": "Hello there."}]


def chat(url, case):
    client = openai.OpenAI(base_url=url + "/v1", api_key="sk-test", default_headers=case["headers"], timeout=30)
    answer = client.chat.completions.create(model=case["model"], messages=MESSAGES, max_completion_tokens=case["limit"], stream=case["stream"])
    if not case["stream"]:
        return answer.choices[0].message.content, answer.choices[0].finish_reason
    text, finish = "", None
    for chunk in answer:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    return text, finish


def responses(url, case):
    client = openai.OpenAI(base_url=url + "/v1", api_key="sk-test", default_headers=case["headers"], timeout=30)
    answer = client.responses.create(model=case["model"], input="Hello there.", max_output_tokens=case["limit"], stream=case["stream"])
    if not case["stream"]:
        return answer.output_text, answer.status
    text, finish = "", None
    for event in answer:
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type in ("response.completed", "response.incomplete", "response.failed"):
            finish = event.response.status
    return text, finish


def messages(url, case):
    client = anthropic.Anthropic(base_url=url, api_key="sk-ant-test", default_headers=case["headers"], timeout=30)
    if not case["stream"]:
        answer = client.messages.create(model=case["model"], messages=MESSAGES, max_tokens=case["limit"])
        return answer.content[0].text, answer.stop_reason
    with client.messages.stream(model=case["model"], messages=MESSAGES, max_tokens=case["limit"]) as stream:
        text = "".join(stream.text_stream)
        return text, stream.get_final_message().stop_reason


SDKS = {"chat": chat, "responses": responses, "messages": messages}

request = json.load(sys.stdin)
for case in request["cases"]:
    began = time.monotonic()
    result = {"ok": True, "error": "", "status": 0, "message": "", "code": "", "text": "", "finish": ""}
    try:
        result["text"], result["finish"] = SDKS[case["sdk"]](request["url"], case)
    except (openai.APIError, anthropic.APIError) as e:
        result.update(ok=False, error=type(e).__name__, status=getattr(e, "status_code", 0) or 0, message=str(e), code=getattr(e, "code", None) or "")
    result["seconds"] = time.monotonic() - began
    print(json.dumps(result), flush=True)
