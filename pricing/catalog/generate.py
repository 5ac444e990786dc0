#!/usr/bin/env python3
"""Writes catalog.json, the price catalogue that Keel embeds, from the Python
package genai-prices (MIT). Run it while developing, never in a build:

    python3 -m venv /tmp/prices && /tmp/prices/bin/pip install genai_prices-0.2.3-py3-none-any.whl
    /tmp/prices/bin/python pricing/catalog/generate.py genai_prices-0.2.3-py3-none-any.whl

The output depends on the wheel alone: same wheel, same bytes. One model stands on one line,
so that a diff between two versions reads as a list of price changes.

Rates become integers, pico-dollars a unit, by decimal arithmetic; what is finer than
that (floating-point noise upstream) is rounded up. What this script does not know, a
unit, a condition or a match rule, stops it: prices are not dropped in silence.
"""

import hashlib
import json
import re
import sys
from datetime import UTC, date, datetime, time
from decimal import ROUND_CEILING, Decimal
from importlib.metadata import version
from pathlib import Path

from genai_prices import types as t
from genai_prices.data import providers

# Upstream's provider ids that Keel calls otherwise.
PROVIDERS = {'x-ai': 'xai', 'aws': 'bedrock', 'voyageai': 'voyage'}

# Price key -> (meter, units per price).
MILLION, THOUSAND, HOUR = 1_000_000, 1_000, 3_600
METERS = {
    'input_mtok': ('input', MILLION),
    'cache_read_mtok': ('cached_input', MILLION),
    'cache_write_mtok': ('cache_write_5m', MILLION),
    'cache_write_1h_mtok': ('cache_write_1h', MILLION),
    'input_audio_mtok': ('input_audio', MILLION),
    'cache_audio_read_mtok': ('cached_input_audio', MILLION),
    'input_image_mtok': ('input_image', MILLION),
    'cache_image_read_mtok': ('cached_input_image', MILLION),
    'input_video_mtok': ('input_video', MILLION),
    'output_mtok': ('output', MILLION),
    'output_reasoning_mtok': ('reasoning', MILLION),
    'output_audio_mtok': ('output_audio', MILLION),
    'output_image_mtok': ('output_image', MILLION),
    'output_video_mtok': ('output_video', MILLION),
    'web_searches_kcount': ('web_search', THOUSAND),
    'storage_searches_kcount': ('file_search', THOUSAND),
    'requests_kcount': ('calls', THOUSAND),
    'input_document_kpages': ('pages', THOUSAND),
    'input_mchars': ('characters', MILLION),
    # Upstream states the hours of what is transcribed under both names, and those of a session under the first.
    'input_audio_hours': ('input_seconds', HOUR),
    'audio_hours': ('input_seconds', HOUR),
}

# Units that no meter counts. A model that is billed by one of these is left out, because its
# cost would come out too low: it is then a model without a price.
UNMETERED = {'output_citation_mtok'}
# Left out, the model stays: pages that are annotated too are not told apart from others by a meter, and
# messages into a voice session don't pass as calls.
IGNORED = {'input_annotated_document_kpages', 'input_text_messages_kcount'}

# Models without prices upstream that their provider gives away, besides those that say :free.
FREE = {'openai/moderation'}

# Request conditions that are service tiers.
TIERS = {('processing', 'batch'): 'batch', ('speed', 'fast'): 'fast'} | {
    ('service_tier', tier): tier for tier in ('flex', 'priority', 'fast')
}
# The standard tier under another name, and conditions that no request states in a way that is read here.
STANDARD = {('service_tier', 'default')}
SKIPPED = {('route', 'mistral/eu'), ('search_type', 'fast'), ('search_type', 'web')}

NOISE = Decimal('1e-12')


def pico(price, per):
    """Dollars per `per` units as pico-dollars a unit, rounded up."""
    price = price.quantize(NOISE)
    return int((price * 10**12 / per).to_integral_value(ROUND_CEILING))


def curve(value, per):
    """A price as {tokens that the input must exceed: pico-dollars}."""
    if isinstance(value, t.TieredPrices):
        return {0: pico(value.base, per)} | {tier.start: pico(tier.price, per) for tier in value.tiers}
    return {0: pico(value, per)}


def at(steps, above):
    return steps[max(start for start in steps if start <= above)]


def dearer(a, b):
    if a is None or b is None:
        return a or b
    return {start: max(at(a, start), at(b, start)) for start in sorted(a.keys() | b.keys())}


class Unmetered(Exception):
    pass


def curves(price, where):
    """A ModelPrice as {meter: curve}."""
    found = {}
    for key, value in price.__dict__.items():
        if value is None or key in IGNORED:
            continue
        if key in UNMETERED:
            raise Unmetered(key)
        if key not in METERS:
            sys.exit(f'{where}: unknown price unit {key}: map it to a meter or say why not')
        meter, per = METERS[key]
        found[meter] = dearer(found.get(meter), curve(value, per))
    return found


def complete(rates, provider, model):
    """States what upstream leaves to its parent units, where the provider's own pages say the same."""
    if provider == 'google':
        # The pricing page lists audio apart exactly where it differs from text.
        if 'input_audio' not in rates and 'input' in rates:
            rates['input_audio'] = rates['input']
            if 'cached_input' in rates:
                rates['cached_input_audio'] = rates['cached_input']
    if 'image' in model and 'output' in rates and 'output_image' not in rates:
        rates['output_image'] = rates['output']  # of image models the output rate is the image rate
    return rates


def steps(rates):
    starts = sorted({start for c in rates.values() for start in c})
    order = list(dict.fromkeys(meter for meter, _ in METERS.values()))
    return [
        {'above': start, 'rates': {m: at(rates[m], start) for m in sorted(rates, key=order.index)}}
        for start in starts
    ]


def standard_rows(model, provider, where):
    prices = model.prices if isinstance(model.prices, list) else [t.ConditionalPrice(prices=model.prices)]
    if prices[0].constraint is not None:
        sys.exit(f'{where}: the first price is conditional: nothing is in force before it')
    rows = []
    for p in prices:
        row = {}
        if isinstance(p.constraint, t.StartDateConstraint):
            row['from'] = p.constraint.start_date.isoformat()
        elif isinstance(p.constraint, t.TimeOfDateConstraint):
            row['daily'] = clock(p.constraint.start_time, where) + '-' + clock(p.constraint.end_time, where)
        elif p.constraint is not None:
            sys.exit(f'{where}: unknown constraint {p.constraint}')
        row['steps'] = steps(complete(curves(p.prices, where), provider, model.id))
        rows.append(row)
    return rows


def clock(value, where):
    if value.tzinfo not in (None, UTC) or value.second or value.microsecond:
        sys.exit(f'{where}: time of day {value} is not whole minutes UTC')
    return value.strftime('%H:%M')


def tier_rows(model, provider, where):
    """Rows of each service tier. Before the day from which upstream vouches for a
    tier, every rate is the dearer of the standard one and the tier's first."""
    variants = {}
    for v in model.price_variants or ():
        if len(v.when) != 1:
            sys.exit(f'{where}: condition {v.when} has several parts')
        (condition,) = v.when.items()
        if condition in STANDARD and not any(p is not None for p in v.prices.__dict__.values()):
            continue
        if condition in SKIPPED:
            continue
        if condition not in TIERS:
            sys.exit(f'{where}: unknown condition {condition}')
        if v.constraint is not None and not isinstance(v.constraint, t.StartDateConstraint):
            sys.exit(f'{where}: a service tier by time of day')
        variants.setdefault(TIERS[condition], []).append(v)
    if not variants:
        return []
    prices = model.prices if isinstance(model.prices, list) else [t.ConditionalPrice(prices=model.prices)]
    if any(isinstance(p.constraint, t.TimeOfDateConstraint) for p in prices):
        sys.exit(f'{where}: service tiers and time of day together')
    rows = []
    for tier, of_tier in sorted(variants.items()):
        dates = {c.start_date for c in [x.constraint for x in [*prices, *of_tier]] if c is not None}
        last = None
        for day in [date.min, *sorted(dates)]:
            noon = datetime.combine(day, time(12), UTC)
            rates = curves(model.get_prices(noon), where)
            settled = set()
            for started in (True, False):
                for v in of_tier:
                    if (v.constraint is None or v.constraint.active(noon)) != started:
                        continue
                    for meter, c in curves(v.prices, where).items():
                        if meter not in settled:
                            settled.add(meter)
                            rates[meter] = c if started else dearer(rates.get(meter), c)
            row = {'tier': tier} | ({} if day == date.min else {'from': day.isoformat()})
            of_day = steps(complete(rates, provider, model.id))
            if of_day != last:
                rows.append(row | {'steps': of_day})
            last = of_day
    return rows


def clause(m, where):
    """A match rule on lower-case names; names any of which is equal become a list."""
    if isinstance(m, t.ClauseEquals):
        return {'equals': m.equals.lower()}
    if isinstance(m, t.ClauseStartsWith):
        return {'starts_with': m.starts_with.lower()}
    if isinstance(m, t.ClauseEndsWith):
        return {'ends_with': m.ends_with.lower()}
    if isinstance(m, t.ClauseContains):
        return {'contains': m.contains.lower()}
    if isinstance(m, t.ClauseRegex):
        return regex(m.regex, where)
    if isinstance(m, t.ClauseAnd):
        return {'and': [clause(c, where) for c in m.and_]}
    if isinstance(m, t.ClauseOr):
        parts = [clause(c, where) for c in m.or_]
        if all('equals' in p for p in parts):
            return [p['equals'] for p in parts]
        return {'or': parts}
    sys.exit(f'{where}: unknown match rule {m}')


def regex(text, where):
    """Go has no lookahead: ^(?!x) becomes not ^(?:x)."""
    negative = re.fullmatch(r'\^\(\?!((?:[^()]|\(\?:[^()]*\))*)\)', text)
    if negative:
        return {'not': {'regex': f'^(?:{negative[1]})'}}
    if re.search(r'\(\?[^:]|\\[1-9]', text):
        sys.exit(f'{where}: regular expression {text} needs more than Go has')
    return {'regex': text}


def compact(value):
    return json.dumps(value, separators=(',', ':'), ensure_ascii=True)


def main():
    wheel = Path(sys.argv[1])
    package = f'genai_prices-{version("genai-prices")}-'
    if not wheel.name.startswith(package):
        sys.exit(f'{wheel.name} is not the installed {package}')
    ours = {p.id: PROVIDERS.get(p.id, p.id) for p in providers}
    left_out, blocks = [], []
    for p in sorted(providers, key=lambda p: ours[p.id]):
        lines = []
        for m in p.models:  # the order decides which rule wins
            where = f'{p.id}/{m.id}'
            try:
                rows = standard_rows(m, p.id, where) + tier_rows(m, p.id, where)
            except Unmetered as unit:
                left_out.append(f'{where} ({unit})')
                rows = []  # keeps its place, so that no later rule takes its name
            if rows == [{'steps': []}] and (m.id.endswith(':free') or where in FREE):
                rows = [{'steps': [{'above': 0, 'rates': {'input': 0, 'output': 0}}]}]
            if rows and not rows[0]['steps']:
                left_out.append(f'{where} (no prices)')
                rows = []
            if any(not row['steps'] for row in rows):
                sys.exit(f'{where}: a row without prices')
            for row in rows:
                for step in row['steps']:
                    if step['above'] == 0:
                        del step['above']
            model = {'id': m.id, 'match': clause(m.match, where)}
            if m.context_window:
                model['context'] = m.context_window
            lines.append(compact(model | {'rows': rows}))
        head = {'id': ours[p.id]}
        if p.fallback_model_providers:
            head['fallback'] = [ours[f] for f in p.fallback_model_providers]
        blocks.append(compact(head)[:-1] + ',"models":[\n' + ',\n'.join(lines) + '\n]}')
    content = '[\n' + ',\n'.join(blocks) + '\n]'
    source = {
        'package': 'genai-prices',
        'version': version('genai-prices'),
        'wheel_sha256': hashlib.sha256(wheel.read_bytes()).hexdigest(),
        'license': 'MIT, see LICENSE.genai-prices',
        'unit': 'pico-dollars per unit of a meter',
    }
    out = Path(__file__).with_name('catalog.json')
    out.write_text(
        f'{{"source":{compact(source)},\n"sha256":"{hashlib.sha256(content.encode()).hexdigest()}",\n"providers":{content}}}\n'
    )
    print(f'{out}: {out.stat().st_size} bytes, {sum(len(p.models) for p in providers)} models')
    print('without a price:', *left_out, sep='\n  ')


if __name__ == '__main__':
    main()
