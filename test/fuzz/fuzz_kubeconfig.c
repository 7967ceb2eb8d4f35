/* Kubeconfigs, with the current context and with one by name. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "kube/kube.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const contexts[] = {NULL, "a"};

	for (size_t i = 0; i < ARRAY_LEN(contexts); i++) {
		_cleanup_kube_config_ struct kube_config *c = NULL;
		struct err e = {0};
		int r = kube_config_parse((const char *)data, size, "/d", contexts[i], &c, &e);

		/* Failure says why and leaves nothing; success is a whole configuration. */
		assert(r < 0 ? !c && e.code == r && e.msg[0] : c && c->server && c->ns);
		assert(r < 0 || strstr(c->server, "://"));
	}
	return 0;
}
