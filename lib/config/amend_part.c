/*
 * Theory of operation. The two texts have a beginning and an end in common. The part between is
 * widened to whole peers:
 *
 *     …common…  [[network.X.peers]] ….edit…. [[network.X.peers]] …common…
 *               ^ from: the last header        ^ to: the first header behind the
 *                 before the edit                edit, or the end of the text
 *
 * The parser reads from the beginning to the end and looks nowhere back, so up to `from` it does
 * the same with both texts. There it is at the beginning of a line, about to read one more element
 * of network.X.peers. The part between is then read by itself, by config_read. Since each of its
 * headers is that same one (a line that begins with '[' in another way ends the attempt), it means
 * the same by itself as in its place. It ends at the end of a line, so the parser comes to `to`
 * as it did before: at the beginning of a line, about to begin an element, whatever stood in the
 * elements before. From there on the texts are the same, and so is what is read.
 *
 * In YAML the header is a line that begins with as many spaces as the peers' "- " has before it
 * and with that, and no line of the part begins with fewer. So the part belongs to that list and
 * to nothing around it, and is read by itself below "network:", "X:" and "peers:". Its lines are
 * counted by '\n' and its places by bytes: other line breaks and letters beyond ASCII end the
 * attempt.
 *
 * Where the old text begins and ends its peers is known from the places in the configuration, so
 * it is not parsed again.
 */
#include "config/amend_priv.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"

struct span {
	const char *text;
	size_t from, to;
};

static size_t common_prefix(const char *a, const char *b, size_t n)
{
	size_t i = 0;

	/* In pieces first: the C library compares many bytes at once. */
	while (n - i >= 4096 && memcmp(a + i, b + i, 4096) == 0)
		i += 4096;
	while (i < n && a[i] == b[i])
		i++;
	return i;
}

/* Both pointers are behind the end. */
static size_t common_suffix(const char *a, const char *b, size_t n)
{
	size_t i = 0;

	while (n - i >= 4096 && memcmp(a - i - 4096, b - i - 4096, 4096) == 0)
		i += 4096;
	while (i < n && a[-1 - (ptrdiff_t)i] == b[-1 - (ptrdiff_t)i])
		i++;
	return i;
}

static bool begins_line(const char *text, size_t at)
{
	return at == 0 || text[at - 1] == '\n';
}

/* Where a peer's element begins: in TOML its header, in YAML the line of its first key, behind the
 * "- ". -EAGAIN: the place is not known. */
static int element_at(const struct config_peer *p, size_t *ret)
{
	if (p->pos.line == 0 || p->pos.offset + 1 < p->pos.column)
		return -EAGAIN;
	*ret = p->pos.offset + 1 - p->pos.column;
	return 0;
}

/* The last peer's element at or before `edit_from`, in whichever network. */
static const struct config_peer *find_from(const struct config *c, const char *source,
					   size_t edit_from, size_t *ret_network, size_t *ret_from)
{
	const struct config_peer *found = NULL;

	for (size_t i = 0; i < c->n_networks; i++) {
		const struct config_network *n = &c->networks[i];
		size_t at;

		for (size_t j = 0; n->source == source && j < n->n_peers; j++) {
			if (element_at(&n->peers[j], &at) < 0 || at > edit_from ||
			    (found && at < *ret_from))
				continue;
			found = &n->peers[j];
			*ret_from = at;
			*ret_network = i;
		}
	}
	return found;
}

/* The network's first element behind the edit that stays where it is. */
static size_t find_to(const struct config_network *n, size_t from, size_t edit_to, size_t end)
{
	size_t to = end, at;

	for (size_t j = 0; j < n->n_peers; j++)
		if (element_at(&n->peers[j], &at) == 0 && at > from && at >= edit_to && at < to)
			to = at;
	return to;
}

/* How a peer's element begins, and which lines may stand in it. */
struct spelling {
	enum config_format format;
	const char *header; /* TOML: "[[network.X.peers]]", as the document spells it */
	size_t len;         /* TOML: of the header; YAML: of the spaces before "- " */
};

static size_t count_spaces(const char *line, const char *end)
{
	const char *p = line;

	while (p < end && *p == ' ')
		p++;
	return (size_t)(p - line);
}

static bool begins_element(const char *line, const char *end, const struct spelling *s)
{
	size_t left = (size_t)(end - line);

	if (s->format == CONFIG_TOML)
		return left >= s->len && memcmp(line, s->header, s->len) == 0;
	return left >= s->len + 2 && count_spaces(line, end) == s->len && line[s->len] == '-' &&
	       (line[s->len + 1] == ' ' || line[s->len + 1] == '\n');
}

/* Whether the line may stand within an element. */
static bool stays_within(const char *line, const char *end, const struct spelling *s)
{
	size_t spaces = count_spaces(line, end);
	const char *p = line;

	if (s->format == CONFIG_YAML)
		return spaces > s->len || line + spaces == end || line[spaces] == '\n';
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	return p == end || *p != '[';
}

static int find_spelling(const struct config_doc *doc, size_t from, struct spelling *ret)
{
	const char *text = doc->text + from, *end = doc->text + doc->len;

	*ret = (struct spelling){.format = doc->format, .header = text};
	if (doc->format == CONFIG_TOML) {
		const char *close = memmem(text, (size_t)(end - text), "]]", 2);

		if (!close || *text != '[')
			return -EAGAIN;
		ret->len = (size_t)(close + 2 - text);
	} else {
		ret->len = count_spaces(text, end);
	}
	return begins_element(text, end, ret) ? 0 : -EAGAIN;
}

/* What YAML's places do not count as bytes and lines. */
static bool is_countable(const struct span *s)
{
	for (size_t i = s->from; i < s->to; i++)
		if ((unsigned char)s->text[i] >= 0x80 || s->text[i] == '\r')
			return false;
	return true;
}

/* The part begins with an element, no line of it leaves the list of them, and it ends with a line
 * or with the text. */
static bool is_all_peers(const struct span *s, const struct spelling *spelling, bool last)
{
	const char *line = s->text + s->from, *end = s->text + s->to;

	if (s->from == s->to)
		return true;
	if (!begins_element(line, end, spelling) || (!last && end[-1] != '\n') ||
	    (spelling->format == CONFIG_YAML && !is_countable(s)))
		return false;
	while (line && line < end) {
		const char *nl = memchr(line, '\n', (size_t)(end - line));

		if (!begins_element(line, end, spelling) && !stays_within(line, end, spelling))
			return false;
		line = nl ? nl + 1 : NULL;
	}
	return true;
}

static int count_lines(const struct span *s)
{
	int n = 0;

	for (size_t i = s->from; i < s->to; i++)
		n += s->text[i] == '\n';
	return n;
}

/* The last peer that begins at or before `edit_from` in both texts. (A line that is put in behind a
 * peer of a YAML document has its first spaces in common with the "- " of the next.) */
static const struct config_peer *find_first(const struct config *c, const struct config_doc *was,
					    const struct config_doc *now, size_t edit_from,
					    struct config_amendment *a, size_t *ret_from,
					    struct spelling *ret)
{
	const struct config_peer *first;

	for (;;) {
		first = find_from(c, a->source, edit_from, &a->network, ret_from);
		if (!first || !begins_line(was->text, *ret_from) ||
		    find_spelling(was, *ret_from, ret) < 0)
			return NULL;
		if (begins_element(now->text + *ret_from, now->text + now->len, ret))
			return first;
		if (*ret_from == 0)
			return NULL;
		edit_from = *ret_from - 1;
	}
}

/* Where the edit stands: a->network, a->behind, the two parts that differ, and the first peer of
 * the old one. */
static const struct config_peer *locate(const struct config *c, const struct config_doc *was,
					const struct config_doc *now, struct config_amendment *a,
					struct span *before, struct span *after)
{
	size_t shorter = was->len < now->len ? was->len : now->len;
	size_t head = common_prefix(was->text, now->text, shorter);
	size_t tail = common_suffix(was->text + was->len, now->text + now->len, shorter - head);
	size_t from = 0, to;
	struct spelling spelling;
	const struct config_peer *first = find_first(c, was, now, head, a, &from, &spelling);

	if (!first)
		return NULL;
	to = find_to(&c->networks[a->network], from, was->len - tail, was->len);
	*before = (struct span){was->text, from, to};
	*after = (struct span){now->text, from, now->len - (was->len - to)};
	if (to < was->len && (!begins_line(was->text, to) ||
			      (was->format == CONFIG_YAML &&
			       !begins_element(was->text + to, was->text + was->len, &spelling))))
		return NULL;
	a->behind = (unsigned)to;
	a->bytes = (int)((long)now->len - (long)was->len);
	a->lines = count_lines(after) - count_lines(before);
	if (!is_all_peers(before, &spelling, to == was->len) ||
	    !is_all_peers(after, &spelling, to == was->len))
		return NULL;
	return first;
}

static bool is_within(const struct cfg_pos *pos, const struct span *s)
{
	return pos->offset >= s->from && pos->offset < s->to;
}

static int find_gone(const struct config_network *n, const struct span *before,
		     struct config_amendment *a)
{
	a->gone = calloc(CONFIG_AMEND_MAX, sizeof(*a->gone));
	a->gone_at = calloc(CONFIG_AMEND_MAX, sizeof(*a->gone_at));
	if (!a->gone || !a->gone_at)
		return -ENOMEM;
	for (size_t i = 0; i < n->n_peers; i++) {
		if (!is_within(&n->peers[i].pos, before))
			continue;
		if (a->n_gone == CONFIG_AMEND_MAX)
			return -EAGAIN;
		a->gone_at[a->n_gone++] = i;
	}
	return 0;
}

/* The new part as a document: in YAML below the keys that it stands below. Returns the number of
 * bytes before it, in *ret_lines that of lines. */
static size_t render_part(const struct config_network *n, enum config_format format,
			  const struct span *after, struct buf *b, unsigned *ret_lines)
{
	size_t before;

	*ret_lines = 0;
	if (format == CONFIG_YAML) {
		buf_addf(b, "network:\n \"%s\":\n  peers:\n", n->name);
		*ret_lines = 3;
	}
	before = b->len;
	buf_add(b, after->text + after->from, after->to - after->from);
	return before;
}

static void move_into_place(struct cfg_pos *pos, const struct cfg_pos *origin)
{
	if (pos->line == 0)
		return;
	pos->offset += origin->offset;
	pos->line += origin->line;
}

/* The new part by itself. `origin` is added to its places. */
static int read_part(const struct config_network *n, const struct config_doc *part,
		     const struct cfg_pos *origin, struct config_amendment *a)
{
	_cleanup_config_diags_ struct config_diags diags = {0};
	_cleanup_config_ struct config *c = NULL;
	int r = config_read(part, 1, NULL, &c, &diags);

	if (r < 0)
		return r == -ENOMEM ? r : -EAGAIN;
	a->n_values += c->n_values; /* those that go are not taken off */
	if (a->n_values > CFG_MAX_VALUES || diags.n || c->n_networks != 1 ||
	    !str_eq(c->networks[0].name, n->name) || c->networks[0].n_peers > CONFIG_AMEND_MAX ||
	    c->networks[0].n_claimed > CONFIG_AMEND_PREFIXES)
		return -EAGAIN;
	a->come = mem_steal(&c->networks[0].peers);
	a->n_come = c->networks[0].n_peers;
	c->networks[0].n_peers = 0;
	for (size_t i = 0; i < a->n_come; i++) {
		move_into_place(&a->come[i].pos, origin);
		move_into_place(&a->come[i].preshared.pos, origin);
	}
	return 0;
}

int config_amend_part(const struct config *c, const struct config_doc *was,
		      const struct config_doc *now, struct config_amendment *a)
{
	_cleanup_buf_ struct buf b = BUF_INIT(CFG_MAX_BYTES);
	struct span before, after;
	const struct config_peer *first = locate(c, was, now, a, &before, &after);
	unsigned lines;
	int r;

	if (!first)
		return -EAGAIN;

	const struct config_network *n = &c->networks[a->network];
	a->n_values = c->n_values;
	r = find_gone(n, &before, a);
	if (r < 0 || after.from == after.to)
		return r;

	size_t above = render_part(n, now->format, &after, &b, &lines);
	struct config_doc part = {now->name, now->format, buf_str(&b), b.len, false};
	struct cfg_pos origin = {.offset = (unsigned)(after.from - above),
				 .line = first->pos.line - 1 - lines};
	return buf_error(&b) == -ENOMEM ? -ENOMEM
	       : buf_error(&b)          ? -EAGAIN
					: read_part(n, &part, &origin, a);
}
