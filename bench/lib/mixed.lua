-- SPDX-License-Identifier: MIT
-- Requests of all sorts in turn, some on a connection that ends with them; counts by status.
local crlf, i = "\r\n", 0
local kinds, counts = {}, {}

local function add(share, method, path, headers, body)
	for _ = 1, share do
		kinds[#kinds + 1] = wrk.format(method, path, headers, body)
	end
end

init = function()
	add(40, "GET", "/")
	add(10, "GET", "/?q=1", { ["User-Agent"] = "mixed", ["Accept"] = "*/*", ["X-Other"] = "1" })
	add(12, "GET", "/json")
	add(8, "GET", "/pieces")
	add(6, "GET", "/file")
	add(1, "GET", "/large")
	add(10, "POST", "/body", {}, string.rep("b", 500))
	add(1, "POST", "/body", {}, string.rep("b", 100000))
	add(4, "GET", "/nap")
	add(4, "GET", "/none")
	add(2, "GET", "/", { ["Connection"] = "close" })
	-- In an order without long runs of one kind.
	local mixed, n = {}, #kinds
	for k = 0, n - 1 do
		mixed[k + 1] = kinds[(k * 37) % n + 1]
	end
	kinds = mixed
end

request = function()
	i = i % #kinds + 1
	return kinds[i]
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
