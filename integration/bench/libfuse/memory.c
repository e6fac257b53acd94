/*
 * A filesystem in memory, as little as libfuse's low level needs: the files of
 * a directory are read at the start, OPEN and READ are answered from memory,
 * and names are the kernel's. It is what a server costs that does nothing.
 *
 *	memory DIRECTORY MOUNTPOINT
 */
#define FUSE_USE_VERSION 314
#define _GNU_SOURCE

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fuse_lowlevel.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* How long the kernel may keep names and attributes, in seconds: like the others. */
#define TRUST 1.0

static struct node {
	struct stat st;
	char *data;
} *nodes; /* nodes[0] is not used; inode 1 is the root */
static size_t count = 1;

/* The key of a name in the table. */
static char *key(fuse_ino_t parent, const char *name)
{
	char *k;
	if (asprintf(&k, "%lu/%s", (unsigned long)parent, name) < 0)
		err(1, "memory");
	return k;
}

static void load(fuse_ino_t parent, const char *path, const char *name)
{
	struct node n = { 0 };
	if (stat(path, &n.st))
		err(1, "%s", path);
	fuse_ino_t ino = count++;
	n.st.st_ino = ino;
	if (S_ISREG(n.st.st_mode)) {
		FILE *f = fopen(path, "r");
		n.data = malloc(n.st.st_size + 1);
		if (!f || !n.data || fread(n.data, 1, n.st.st_size, f) != (size_t)n.st.st_size)
			err(1, "%s", path);
		fclose(f);
	}
	nodes = realloc(nodes, count * sizeof *nodes);
	if (!nodes)
		err(1, "memory");
	nodes[ino] = n;
	if (!hsearch((ENTRY){ key(parent, name), (void *)ino }, ENTER))
		errx(1, "too many files");
	if (!S_ISDIR(n.st.st_mode))
		return;
	DIR *d = opendir(path);
	if (!d)
		err(1, "%s", path);
	for (struct dirent *e; (e = readdir(d));) {
		char *below;
		if (e->d_name[0] == '.')
			continue;
		if (asprintf(&below, "%s/%s", path, e->d_name) < 0)
			err(1, "memory");
		load(ino, below, e->d_name);
		free(below);
	}
	closedir(d);
}

static void lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = { .attr_timeout = TRUST, .entry_timeout = TRUST };
	char *k = key(parent, name);
	ENTRY *found = hsearch((ENTRY){ k, NULL }, FIND);
	free(k);
	if (found) {
		e.ino = (fuse_ino_t)found->data;
		e.attr = nodes[e.ino].st;
	}
	fuse_reply_entry(req, &e); /* inode 0: there is none, and that is kept, too */
}

static void getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	fuse_reply_attr(req, &nodes[ino].st, TRUST);
}

static void open_(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->direct_io = 1;
	fuse_reply_open(req, fi);
}

static void read_(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	size_t all = nodes[ino].st.st_size;
	size_t from = (size_t)off < all ? (size_t)off : all;
	fuse_reply_buf(req, nodes[ino].data + from, size < all - from ? size : all - from);
}

static const struct fuse_lowlevel_ops ops = { .lookup = lookup, .getattr = getattr, .open = open_, .read = read_ };

int main(int argc, char **argv)
{
	if (argc != 3)
		errx(2, "usage: memory DIRECTORY MOUNTPOINT");
	if (!hcreate(1 << 16))
		err(1, "memory");
	load(0, argv[1], "");
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	if (fuse_opt_add_arg(&args, argv[0]) || fuse_opt_add_arg(&args, "-oallow_other,default_permissions,fsname=memory"))
		errx(1, "memory");
	struct fuse_session *s = fuse_session_new(&args, &ops, sizeof ops, NULL);
	if (!s || fuse_set_signal_handlers(s) || fuse_session_mount(s, argv[2]))
		errx(1, "%s cannot be mounted", argv[2]);
	int failed = fuse_session_loop(s);
	fuse_session_unmount(s);
	fuse_remove_signal_handlers(s);
	fuse_session_destroy(s);
	return failed ? 1 : 0;
}
