#include "agent/docs.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

void agent_docs_clear(struct agent_docs *d)
{
	for (size_t i = 0; i < d->n; i++) {
		free((char *)d->items[i].name);
		mem_wipe((char *)d->items[i].text, d->items[i].len);
		free((char *)d->items[i].text);
	}
	free(d->items);
	*d = (struct agent_docs){0};
}

int agent_docs_take(struct agent_docs *d, const char *name, struct buf *text)
{
	struct config_doc doc = {.len = text->len};

	if (config_format_of(name, &doc.format) < 0)
		return -EINVAL;
	if (buf_reserve(text, 1) < 0 || mem_grow(&d->items, d->n, &d->cap, sizeof(*d->items)) < 0 ||
	    !(doc.name = strdup(name)))
		return -ENOMEM;
	text->data[text->len] = '\0';
	doc.text = text->data;
	*text = (struct buf){.limit = text->limit};
	d->items[d->n++] = doc;
	return 0;
}

int agent_docs_add(struct agent_docs *d, const char *name, const char *text, size_t len)
{
	_cleanup_(buf_wipe) struct buf copy = BUF_INIT(0);

	if (buf_reserve(&copy, len + 1) < 0)
		return -ENOMEM;
	buf_add(&copy, text, len);
	return agent_docs_take(d, name, &copy);
}

static int cmp_doc(const void *a, const void *b)
{
	return strcmp(((const struct config_doc *)a)->name, ((const struct config_doc *)b)->name);
}

void agent_docs_sort(struct agent_docs *d)
{
	if (d->n)
		qsort(d->items, d->n, sizeof(*d->items), cmp_doc);
}

bool agent_docs_equal(const struct agent_docs *a, const struct agent_docs *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		const struct config_doc *x = &a->items[i], *y = &b->items[i];

		if (!str_eq(x->name, y->name) || x->len != y->len || x->gone != y->gone ||
		    memcmp(x->text, y->text, x->len) != 0)
			return false;
	}
	return true;
}
