/* SPDX-License-Identifier: MIT */
#include "server/mime.h"

#include <stdlib.h>

#define EXT_MAX 16u

#define TEXT(ext, type)                                                                            \
	{                                                                                          \
		ext, type "; charset=utf-8", true                                                  \
	}
#define PACKS(ext, type)                                                                           \
	{                                                                                          \
		ext, type, true                                                                    \
	}
#define AS_IS(ext, type)                                                                           \
	{                                                                                          \
		ext, type, false                                                                   \
	}

/* Sorted by extension. Types as registered with IANA, where they are. */
static const struct mime types[] = {
	AS_IS("3gp", "video/3gpp"),
	AS_IS("7z", "application/x-7z-compressed"),
	AS_IS("aac", "audio/aac"),
	AS_IS("apng", "image/apng"),
	PACKS("atom", "application/atom+xml"),
	AS_IS("avi", "video/x-msvideo"),
	AS_IS("avif", "image/avif"),
	AS_IS("bin", "application/octet-stream"),
	PACKS("bmp", "image/bmp"),
	AS_IS("br", "application/octet-stream"),
	AS_IS("bz2", "application/x-bzip2"),
	TEXT("c", "text/plain"),
	TEXT("cjs", "text/javascript"),
	TEXT("conf", "text/plain"),
	TEXT("css", "text/css"),
	TEXT("csv", "text/csv"),
	PACKS("cur", "image/vnd.microsoft.icon"),
	AS_IS("deb", "application/vnd.debian.binary-package"),
	PACKS("doc", "application/msword"),
	AS_IS("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
	PACKS("eot", "application/vnd.ms-fontobject"),
	AS_IS("epub", "application/epub+zip"),
	AS_IS("flac", "audio/flac"),
	PACKS("geojson", "application/geo+json"),
	AS_IS("gif", "image/gif"),
	AS_IS("gz", "application/gzip"),
	TEXT("h", "text/plain"),
	AS_IS("heic", "image/heic"),
	AS_IS("heif", "image/heif"),
	TEXT("htm", "text/html"),
	TEXT("html", "text/html"),
	PACKS("ico", "image/vnd.microsoft.icon"),
	TEXT("ics", "text/calendar"),
	TEXT("ini", "text/plain"),
	AS_IS("iso", "application/octet-stream"),
	AS_IS("jar", "application/java-archive"),
	AS_IS("jpeg", "image/jpeg"),
	AS_IS("jpg", "image/jpeg"),
	TEXT("js", "text/javascript"),
	PACKS("json", "application/json"),
	PACKS("jsonld", "application/ld+json"),
	AS_IS("jxl", "image/jxl"),
	TEXT("log", "text/plain"),
	AS_IS("m3u8", "application/vnd.apple.mpegurl"),
	AS_IS("m4a", "audio/mp4"),
	AS_IS("m4v", "video/mp4"),
	PACKS("map", "application/json"),
	TEXT("markdown", "text/markdown"),
	TEXT("md", "text/markdown"),
	AS_IS("mid", "audio/midi"),
	TEXT("mjs", "text/javascript"),
	AS_IS("mka", "audio/matroska"),
	AS_IS("mkv", "video/matroska"),
	AS_IS("mov", "video/quicktime"),
	AS_IS("mp3", "audio/mpeg"),
	AS_IS("mp4", "video/mp4"),
	AS_IS("mpd", "application/dash+xml"),
	AS_IS("mpeg", "video/mpeg"),
	AS_IS("mpg", "video/mpeg"),
	AS_IS("odp", "application/vnd.oasis.opendocument.presentation"),
	AS_IS("ods", "application/vnd.oasis.opendocument.spreadsheet"),
	AS_IS("odt", "application/vnd.oasis.opendocument.text"),
	AS_IS("oga", "audio/ogg"),
	AS_IS("ogg", "audio/ogg"),
	AS_IS("ogv", "video/ogg"),
	AS_IS("opus", "audio/ogg"),
	PACKS("otf", "font/otf"),
	AS_IS("pdf", "application/pdf"),
	AS_IS("png", "image/png"),
	PACKS("ppt", "application/vnd.ms-powerpoint"),
	AS_IS("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
	PACKS("ps", "application/postscript"),
	AS_IS("rar", "application/vnd.rar"),
	TEXT("rb", "text/plain"),
	PACKS("rss", "application/rss+xml"),
	PACKS("rtf", "application/rtf"),
	TEXT("sh", "text/plain"),
	PACKS("svg", "image/svg+xml"),
	AS_IS("svgz", "image/svg+xml"),
	AS_IS("tar", "application/x-tar"),
	AS_IS("tgz", "application/gzip"),
	PACKS("tif", "image/tiff"),
	PACKS("tiff", "image/tiff"),
	AS_IS("ts", "video/mp2t"),
	PACKS("ttc", "font/collection"),
	PACKS("ttf", "font/ttf"),
	TEXT("txt", "text/plain"),
	TEXT("vcf", "text/vcard"),
	TEXT("vtt", "text/vtt"),
	PACKS("wasm", "application/wasm"),
	AS_IS("wav", "audio/wav"),
	AS_IS("weba", "audio/webm"),
	AS_IS("webm", "video/webm"),
	PACKS("webmanifest", "application/manifest+json"),
	AS_IS("webp", "image/webp"),
	AS_IS("woff", "font/woff"),
	AS_IS("woff2", "font/woff2"),
	PACKS("xhtml", "application/xhtml+xml"),
	PACKS("xls", "application/vnd.ms-excel"),
	AS_IS("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
	PACKS("xml", "application/xml"),
	PACKS("xsl", "application/xslt+xml"),
	AS_IS("xz", "application/x-xz"),
	TEXT("yaml", "application/yaml"),
	TEXT("yml", "application/yaml"),
	AS_IS("zip", "application/zip"),
	AS_IS("zst", "application/zstd"),
};

static const struct mime unknown = AS_IS("", "application/octet-stream");

static int by_ext(const void *key, const void *element)
{
	return strcmp(key, ((const struct mime *)element)->ext);
}

const struct mime *mime_of(struct view path)
{
	const struct mime *found;
	char ext[EXT_MAX];
	size_t n = 0;

	while (n < path.len && path.p[path.len - 1 - n] != '.' && path.p[path.len - 1 - n] != '/')
		n++;
	if (n == path.len || path.p[path.len - 1 - n] != '.' || n == 0 || n >= EXT_MAX)
		return &unknown;
	for (size_t i = 0; i < n; i++)
		ext[i] = (char)ascii_lower((u8)path.p[path.len - n + i]);
	ext[n] = '\0';
	found = bsearch(ext, types, ARRAY_SIZE(types), sizeof(types[0]), by_ext);
	return found ? found : &unknown;
}
