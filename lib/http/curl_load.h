/*
 * libcurl, loaded when it is first needed. An agent that takes its networks from a file never does,
 * and has none of the two dozen libraries behind it in memory, which are more than all the rest.
 *
 * The functions of <curl/curl.h> are called as ever: curl_load.c defines those that the tree uses
 * and passes them on. Before http_curl_load has succeeded they fail as without memory.
 */
#ifndef HTTP_CURL_LOAD_H
#define HTTP_CURL_LOAD_H

#include "base/err.h"

/* Loads the library and initializes it; the second time nothing. It stays loaded. Opens files of
 * the system: to be called before a sandbox that forbids it. Not from two threads at once.
 * -ELIBACC where there is none, or one without a function that we need; -EIO where it does not
 * start. */
int http_curl_load(struct err *e);

#endif
