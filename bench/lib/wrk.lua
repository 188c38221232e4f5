-- SPDX-License-Identifier: MIT
-- Pipelining (LAB_DEPTH requests in one write) and exact figures at the end, as one JSON line.
local depth = tonumber(os.getenv("LAB_DEPTH") or "1")

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
	io.write(string.format(
		'LAB {"requests":%d,"duration_us":%d,"bytes":%d,"connect":%d,"read":%d,"write":%d,' ..
		'"status":%d,"timeout":%d,"p50_us":%.1f,"p99_us":%.1f,"p999_us":%.1f,"max_us":%.1f}\n',
		summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.status,
		e.timeout, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
		latency.max))
end
