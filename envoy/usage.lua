-- Reads what an answer says that it used, for Keel, while it passes: nothing is held back, changed or added. What is found goes to the
-- metadata of the call, as JSON in one text: under "answer" of a body of JSON, when it is whole; under "events" of a stream of events,
-- each time that it says something new, so that a stream that is cut has told what it could.

local SPACE = "keel.usage"
local MOST = 32 * 1024 * 1024 -- bytes that are kept of a body, or of one event, until it is whole; more than that is not read

local byte, find, gsub, lower, sub, concat = string.byte, string.find, string.gsub, string.lower, string.sub, table.concat

-- A value is a number, a text or a truth; an object is taken as it stands. Each is told under its path.
local function value(path) return {path = path, object = false} end
local function object(path) return {path = path, object = true} end

local ANSWER = {
  id = value("id"), model = value("model"), service_tier = value("service_tier"), usage = object("usage"), tool_usage = object("tool_usage"),
  modelVersion = value("modelVersion"), responseId = value("responseId"), usageMetadata = object("usageMetadata"), -- Gemini
  meta = object("meta"), prompt_eval_count = value("prompt_eval_count"), eval_count = value("eval_count"), -- Cohere, Ollama
}
local EVENT = {
  id = value("id"), model = value("model"), service_tier = value("service_tier"), usage = object("usage"),
  modelVersion = value("modelVersion"), responseId = value("responseId"), usageMetadata = object("usageMetadata"),
  x_groq = {inside = {usage = object("x_groq.usage")}},
  message = {inside = {id = value("message.id"), model = value("message.model"), usage = object("message.usage")}},
  delta = {inside = {stop_reason = value("delta.stop_reason")}},
  response = {inside = {
    id = value("response.id"), model = value("response.model"), service_tier = value("response.service_tier"), status = value("response.status"),
    usage = object("response.usage"), tool_usage = object("response.tool_usage"),
  }},
}

-- blank steps over space, to a byte or the end.
local function blank(s, i)
  local c = byte(s, i)
  while c == 32 or c == 10 or c == 13 or c == 9 do
    i = i + 1
    c = byte(s, i)
  end
  return i, c
end

-- unescaped is the first quote from q on that ends the text that began at i, or nil.
local function unescaped(s, i, q)
  while q do
    local b = q - 1
    while b > i and byte(s, b) == 92 do b = b - 1 end
    if (q - b) % 2 == 1 then return q end
    q = find(s, '"', q + 1, true)
  end
end

-- take adds a value to what is known, if it is of the kind that is wanted, and returns whether that is new.
local function take(s, from, to, want, known)
  local path, c = want.path
  from, c = blank(s, from)
  if not path or want.object ~= (c == 123) or c == 91 or c == 110 then return false end -- a list, null
  while byte(s, to) <= 32 do to = to - 1 end
  local text = sub(s, from, to)
  if known[path] == text then return false end
  known[path] = text
  return true
end

-- document reads what is wanted of one that is an object and nothing else, into known. It returns whether it is one, and whether that
-- told something new. It is one loop over what is no text, which LuaJIT makes machine code of; only quotes and brackets matter to it.
local function document(s, wanted, known)
  local i, c = blank(s, 1)
  if c ~= 123 then return false, false end
  local new, inner = false, nil -- what is wanted of the member that is being passed, an object
  local want, from = nil, 0 -- the member whose value is being passed, and where that begins
  local depth, level = 1, 1 -- level is where members have names that matter
  i = i + 1
  c = byte(s, i)
  while c do
    if c == 34 then
      local q = find(s, '"', i + 1, true)
      if q and byte(s, q - 1) == 92 then q = unescaped(s, i, q) end
      if not q then return false, new end
      if depth == level and not want then
        local e, d = q + 1, byte(s, q + 1)
        if d and d <= 32 then e, d = blank(s, e) end
        if d == 58 then
          want, from = (inner or wanted)[sub(s, i + 1, q - 1)], e + 1
        end
      end
      i = q
    elseif c == 44 then
      if want and depth == level then
        new = take(s, from, i - 1, want, known) or new
        want = nil
      end
    elseif c == 123 or c == 91 then
      if c == 123 and want and want.inside and depth == 1 then
        inner, level, want = want.inside, 2, nil
      end
      depth = depth + 1
    elseif c == 125 or c == 93 then
      if depth == level then
        if want then
          new = take(s, from, i - 1, want, known) or new
          want = nil
        end
        if inner then inner, level = nil, 1 end
      end
      depth = depth - 1
      if depth == 0 then
        i, c = blank(s, i + 1)
        return c == nil, new
      end
    end
    i = i + 1
    c = byte(s, i)
  end
  return false, new
end

local function tell(handle, key, found)
  local parts, n = {}, 0
  for path, text in pairs(found) do
    n = n + 1
    parts[n] = '"' .. path .. '":' .. text
  end
  if n > 0 then
    handle:streamInfo():dynamicMetadata():set(SPACE, key, "{" .. concat(parts, ",") .. "}")
  end
end

local function read_answer(handle)
  local parts, n, size = {}, 0, 0
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    size = size + length
    if size > MOST then return end
    if length > 0 then
      n = n + 1
      parts[n] = chunk:getBytes(0, length)
    end
  end
  local known = {}
  if n > 0 and document(n == 1 and parts[1] or concat(parts), ANSWER, known) then
    tell(handle, "answer", known)
  end
end

-- read_event reads what stands behind "data:" in the lines of one event, and returns whether that told something new.
local function read_event(s, known)
  local data
  local i, length = 1, #s
  while i <= length do
    local e = find(s, "\n", i, true) or length + 1
    if sub(s, i, i + 4) == "data:" then
      local line = sub(s, byte(s, i + 5) == 32 and i + 6 or i + 5, e - 1)
      data = data and data .. "\n" .. line or line
    end
    i = e + 1
  end
  if not data then return false end
  local _, new = document(data, EVENT, known)
  return new
end

-- tells reports whether one of some events may tell something new. Who answers, and which model, is in the first of a stream, and again where
-- the usage is; between them are those of which there are most. In a stream whose events have a name of their own nothing else is told.
local function tells(s, known)
  local nested = known["message.id"] or known["response.id"]
  if not nested and (not known.id or known.id == '""') then return true end
  local i = find(s, "usage", 1, true)
  while i do
    if sub(s, i, i + 10) ~= 'usage":null' then return true end
    i = find(s, "usage", i + 11, true)
  end
  return nested and (find(s, 'response"', 1, true) or find(s, "stop_reason", 1, true))
end

local function read_events(handle)
  local known = {}
  local parts, n, size = {}, 0, 0 -- of an event that has not ended
  local ended, returned = false, false -- whether the last byte was a line feed, a carriage return
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    local s = length > 0 and chunk:getBytes(0, length) or ""
    if returned and byte(s, 1) == 10 then
      s = sub(s, 2)
      returned = false
    end
    if s ~= "" then
      returned = byte(s, -1) == 13
      if find(s, "\r", 1, true) then s = gsub(s, "\r\n?", "\n") end
      local whole = ended and byte(s, 1) == 10 or find(s, "\n\n", 1, true)
      ended = byte(s, -1) == 10
      n, size = n + 1, size + #s
      parts[n] = s
      if whole then
        s = n == 1 and s or concat(parts)
        if ended and byte(s, -2) == 10 and not tells(s, known) then
          s = ""
        else
          local i, new = 1, false
          local e = find(s, "\n\n", 1, true)
          while e do
            new = read_event(sub(s, i, e - 1), known) or new
            i = e + 2
            e = find(s, "\n\n", i, true)
          end
          s = sub(s, i)
          if new then tell(handle, "events", known) end
        end
        parts, n, size = {}, 0, #s
        if size > 0 then parts, n = {s}, 1 end
      elseif size > MOST then
        parts, n, size = {}, 0, 0
      end
    end
  end
  if n > 0 and read_event(concat(parts), known) then -- the last may end with the stream
    tell(handle, "events", known)
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local kind, encoding = headers:get("content-type"), headers:get("content-encoding")
  if not kind or encoding and encoding ~= "identity" then return end
  kind = lower(kind)
  if sub(kind, 1, 16) == "application/json" then
    read_answer(handle)
  elseif sub(kind, 1, 17) == "text/event-stream" then
    read_events(handle)
  end
end

-- What calls Envoy can't be made machine code of. LuaJIT tries all the same, again and again: it took two thirds of what a chunk costs.
for _, f in ipairs({envoy_on_response, read_answer, read_events, tell}) do jit.off(f) end
