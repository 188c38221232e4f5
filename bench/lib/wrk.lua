-- SPDX-License-Identifier: MIT
-- Pipelining (LAB_DEPTH requests in one write), bodies (LAB_BODY bytes), and exact figures at the end, as one JSON line.
local depth = tonumber(os.getenv("LAB_DEPTH") or "1")
local body = tonumber(os.getenv("LAB_BODY") or "0")

if body > 0 then
	wrk.method = "POST"
	wrk.body = string.rep("u", body)
	wrk.headers["Content-Type"] = "application/octet-stream"
end

-- Looks at every answer; the main thread asks for the sum.
local length = tonumber(os.getenv("LAB_LENGTH") or "-1")
local threads = {}
wrong = 0

if length >= 0 then
	response = function(status, _, content)
		if status ~= 200 or #content ~= length then
			wrong = wrong + 1
		end
	end
end

setup = function(thread)
	threads[#threads + 1] = thread
end

if depth > 1 then
	local batch
	init = function()
		local one = {}
		for i = 1, depth do
			one[i] = wrk.format()
		end
		batch = table.concat(one)
	end
	request = function()
		return batch
	end
end

done = function(summary, latency)
	local e = summary.errors
	local curve, bad = {}, 0
	for _, thread in ipairs(threads) do
		bad = bad + thread:get("wrong")
	end
	for _, p in ipairs({ 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99 }) do
		curve[#curve + 1] = string.format('"%s":%.1f', tostring(p), latency:percentile(p))
	end
	curve[#curve + 1] = string.format('"100":%.1f', latency.max)
	io.write(string.format(
		'LAB {"requests":%d,"duration_us":%d,"bytes":%.0f,"connect":%d,"read":%d,"write":%d,' ..
		'"status":%d,"timeout":%d,"p50_us":%.1f,"p99_us":%.1f,"p999_us":%.1f,"max_us":%.1f,' ..
		'"wrong":%d,"latency":{%s}}\n',
		summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.status,
		e.timeout, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
		latency.max, bad, table.concat(curve, ",")))
end
