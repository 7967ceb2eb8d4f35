/*
 * Theory of operation. The program is not linked with libcurl; it has these definitions of its
 * functions instead, under their own names, so that what calls them is written as if it were (and
 * checked by curl's own macros). They are hidden: libcurl's calls among its own functions are not
 * caught by them. What each stands for is looked up once, when the library is loaded, all or none.
 *
 * That the program loads this library is written in it, where packaging looks (ELF Package Metadata
 * by dlopen, https://uapi-group.org/specifications/specs/elf_dlopen_metadata/); hack/image-build
 * does too.
 */
#include "http/curl_load.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SONAME "libcurl.so.4"

#define DLOPEN_JSON                                                                                \
	"[{\"feature\":\"kubernetes\",\"description\":\"The Kubernetes API, and status --http\","  \
	"\"priority\":\"recommended\",\"soname\":[\"" SONAME "\"]}]"

/* An ELF note: sizes of name and description, type, and both padded to four bytes. */
static const struct {
	uint32_t name_size, desc_size, type;
	char name[4];
	_Alignas(4) char desc[sizeof(DLOPEN_JSON)];
} note __attribute__((used, section(".note.dlopen"), aligned(4))) = {
	4, sizeof(DLOPEN_JSON), 0x407c0c0a, "FDO", DLOPEN_JSON};

/* Macros that check types where these functions are called. */
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

#define FUNCTIONS(F)                                                                               \
	F(curl_global_init)                                                                        \
	F(curl_easy_init)                                                                          \
	F(curl_easy_cleanup)                                                                       \
	F(curl_easy_setopt)                                                                        \
	F(curl_easy_getinfo)                                                                       \
	F(curl_easy_perform)                                                                       \
	F(curl_easy_pause)                                                                         \
	F(curl_easy_strerror)                                                                      \
	F(curl_multi_init)                                                                         \
	F(curl_multi_cleanup)                                                                      \
	F(curl_multi_setopt)                                                                       \
	F(curl_multi_add_handle)                                                                   \
	F(curl_multi_remove_handle)                                                                \
	F(curl_multi_assign)                                                                       \
	F(curl_multi_info_read)                                                                    \
	F(curl_multi_socket_action)                                                                \
	F(curl_multi_strerror)                                                                     \
	F(curl_slist_append)                                                                       \
	F(curl_slist_free_all)

#define MEMBER(name) __typeof__(name) *name;
static struct {
	FUNCTIONS(MEMBER)
	bool loaded;
} lib;

#define PLACE(name) {#name, offsetof(__typeof__(lib), name)},
static const struct {
	const char *name;
	size_t offset;
} places[] = {FUNCTIONS(PLACE)};

int http_curl_load(struct err *e)
{
	if (lib.loaded)
		return 0;

	void *handle = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!handle)
		return err_set(e, -ELIBACC, "libcurl, which HTTP requests need: %s", dlerror());
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		void *function = dlsym(handle, places[i].name);

		if (!function)
			return err_set(e, -ELIBACC, "%s: found no function %s", SONAME,
				       places[i].name);
		*(void **)((char *)&lib + places[i].offset) = function;
	}
	if (lib.curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return err_set(e, -EIO, "libcurl does not start");
	lib.loaded = true;
	return 0;
}

/* --- what is passed on --- */

#define HIDDEN __attribute__((visibility("hidden")))

/* These take one more argument, of the option's type. Each such type is one machine word, and is
 * passed as any other: an `int`, which <curl/curl.h> does not allow here, were not. */
_Static_assert(sizeof(long) == sizeof(void *) && sizeof(curl_off_t) == sizeof(void *),
	       "an option's value is not one word");
#define WITH_VALUE(function, code, handle, option, failure)                                        \
	HIDDEN code function(handle *h, option o, ...)                                             \
	{                                                                                          \
		va_list ap;                                                                        \
                                                                                                   \
		va_start(ap, o);                                                                   \
		void *value = va_arg(ap, void *);                                                  \
		va_end(ap);                                                                        \
		return lib.loaded ? lib.function(h, o, value) : (failure);                         \
	}

WITH_VALUE(curl_easy_setopt, CURLcode, CURL, CURLoption, CURLE_FAILED_INIT)
WITH_VALUE(curl_easy_getinfo, CURLcode, CURL, CURLINFO, CURLE_FAILED_INIT)
WITH_VALUE(curl_multi_setopt, CURLMcode, CURLM, CURLMoption, CURLM_BAD_HANDLE)

#define PASS(type, function, failure, params, ...)                                                 \
	HIDDEN type function params                                                                \
	{                                                                                          \
		return lib.loaded ? lib.function(__VA_ARGS__) : (failure);                         \
	}
#define PASS_VOID(function, params, ...)                                                           \
	HIDDEN void function params                                                                \
	{                                                                                          \
		if (lib.loaded)                                                                    \
			lib.function(__VA_ARGS__);                                                 \
	}

PASS(CURL *, curl_easy_init, NULL, (void))
PASS(CURLcode, curl_easy_perform, CURLE_FAILED_INIT, (CURL * h), h)
PASS(CURLcode, curl_easy_pause, CURLE_FAILED_INIT, (CURL * h, int mask), h, mask)
PASS(const char *, curl_easy_strerror, "libcurl is not loaded", (CURLcode c), c)
PASS_VOID(curl_easy_cleanup, (CURL * h), h)

PASS(CURLM *, curl_multi_init, NULL, (void))
PASS(CURLMcode, curl_multi_cleanup, CURLM_BAD_HANDLE, (CURLM * m), m)
PASS(CURLMcode, curl_multi_add_handle, CURLM_BAD_HANDLE, (CURLM * m, CURL *h), m, h)
PASS(CURLMcode, curl_multi_remove_handle, CURLM_BAD_HANDLE, (CURLM * m, CURL *h), m, h)
PASS(CURLMcode, curl_multi_assign, CURLM_BAD_HANDLE, (CURLM * m, curl_socket_t fd, void *arg), m,
     fd, arg)
PASS(CURLMsg *, curl_multi_info_read, NULL, (CURLM * m, int *left), m, left)
PASS(CURLMcode, curl_multi_socket_action, CURLM_BAD_HANDLE,
     (CURLM * m, curl_socket_t fd, int what, int *running), m, fd, what, running)
PASS(const char *, curl_multi_strerror, "libcurl is not loaded", (CURLMcode c), c)

PASS(struct curl_slist *, curl_slist_append, NULL, (struct curl_slist * list, const char *s), list,
     s)
PASS_VOID(curl_slist_free_all, (struct curl_slist * list), list)
