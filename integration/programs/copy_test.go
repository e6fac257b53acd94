package programs_test

// copyPrograms copy and pack. What they write is compared as well.
var copyPrograms = []programRun{
	{name: "cp", script: `cp app.conf longest blank 'no newline' "$O"`},
	{name: "cp -p", script: `cp -p app.conf longest page "$O"`},
	{name: "cp -a of the tree", script: `cp -a . "$O/tree"; cp -r sub "$O/sub"`},
	{name: "cp with extended attributes", script: `cp -p --preserve=xattr app.conf "$O"; cp -r --preserve=all sub "$O"`},
	{name: "cp --reflink=auto", script: `cp --reflink=auto longest "$O"`},
	{name: "cp --reflink=always", script: `echo refused; cp --reflink=always longest "$O"`, code: 1},
	{name: "cp --sparse", script: `cp --sparse=always longest "$O/always"; cp --sparse=never longest "$O/never"; cp --sparse=auto page "$O/auto"`},
	{name: "cp -u", script: `cp -pu app.conf "$O"; cp -puv app.conf "$O"; cp -puv words "$O"`},
	{name: "install", script: `install -m 640 key.pem "$O/key"; install -D -p app.conf "$O/a/b/app.conf"; install -C longest "$O"; install -C -v longest "$O"`},
	{name: "dd", script: `dd if=longest of="$O/copy" status=none; dd if=longest bs=4k status=none | cksum`},
	{name: "dd of single bytes", script: `dd if='no newline' bs=1 status=none; dd if=longest bs=1 skip=6100 count=100 status=none`},
	{name: "dd with skip", script: `dd if=longest bs=512 skip=11 2>&1 | sed 's/, [0-9.e-]* s.*//'; dd if=longest bs=7 skip=1000 2>&1 | sed 's/, [0-9.e-]* s.*//'; dd if=longest bs=1000 skip=5 count=9 iflag=fullblock,skip_bytes status=none`},
	{name: "tar", script: `tar -cf "$O/a.tar" --sort=name . && tar -tvf "$O/a.tar"`},
	{name: "tar into tar", script: `tar -cf - . | tar -xpf - -C "$O"`},
	{name: "tar with extended attributes", script: `tar --xattrs --acls --selinux -cf - app.conf | tar --xattrs -xvpf - -C "$O"`,
		known:  noAttributes,
		stdout: "app.conf\n",
		stderr: "tar: app.conf: Warning: Cannot flistxattr: Operation not supported\n"},
	{name: "tar of sparse files", script: `tar -cSf - longest page blank | tar -xvf - -C "$O"`},
	{name: "tar compares", script: `tar -cf "$O/a.tar" . && tar -df "$O/a.tar" && echo equal; rm "$O/a.tar"`},
	{name: "cpio", script: `find . -depth | LC_ALL=C sort -r | cpio -o --quiet -H newc | (cd "$O" && cpio -idm --quiet --no-absolute-filenames)`},
	{name: "cpio, passed through", script: `find . -type f -print0 | cpio -p0dm --quiet "$O"`},
	{name: "rsync -a", script: `rsync -a --stats . "$O/" | grep -E 'Number of (regular|created)|Total (file size|transferred)|Literal'`},
	{name: "rsync with extended attributes", script: `rsync -aHAX . "$O/"; rsync -aHAXi . "$O/" | sort`},
	{name: "rsync -c", script: `rsync -rc ./ "$O/"; rsync -rci ./ "$O/"; rsync -aci ./ "$O/" | sort`},
	{name: "rsync that changes a file in place", script: `mkdir "$O/in"; tr a-z A-Z <longest >"$O/in/longest"; rsync -a --inplace --no-whole-file longest "$O/in/"`},
	{name: "gzip", script: `gzip -c longest | gzip -dc | cksum; gzip -c app.conf >"$O/app.gz"; gzip -l "$O/app.gz"`},
	{name: "xz", script: `xz -c longest | xz -dc | cksum; xz -c app.conf >"$O/app.xz"; xz -l --robot "$O/app.xz" | tail -n 1`},
	{name: "git hash-object", script: `git hash-object longest app.conf blank 'no newline'; git hash-object --stdin <longest; git hash-object --no-filters page`},
	{name: "git add", script: `
		git init -q --bare "$O/g"; git="git --git-dir=$O/g --work-tree=$D"
		$git -c core.bare=false add .; $git ls-files -s | grep -v 'pem$\|ed25519'
		$git -c user.name=n -c user.email=e@localhost -c core.bare=false commit -q -m all
		$git -c core.bare=false status --short; $git show HEAD:longest | cksum; rm -r "$O/g"`},
	{name: "git diff --no-index", script: `git diff --no-index --stat app.conf app.new || true; git diff --no-index app.conf app.new`, code: 1},
	{name: "git diff --no-index with /dev/null", script: `git diff --no-index --numstat /dev/null longest`, code: 1},
	{name: "git config", script: `git config -f app.ini --list; git config -f app.ini database.password`},
	{name: "git grep --no-index", script: `git grep --no-index -n password -- . | sort`},
}

// shellPrograms run and configure themselves from a file.
var shellPrograms = []programRun{
	{name: "bash source", script: `source ./lib.sh; greet bash; . ./app.env; echo "$DB_PASSWORD"`},
	{name: "bash script", script: `bash lib.sh; bash <lib.sh; bash -c '. ./lib.sh; greet x'`},
	{name: "bash read", script: `while IFS= read -r line; do echo "[$line]"; done <app.conf; IFS== read -r k v <app.env; echo "$k, $v"`},
	{name: "bash read of a shared descriptor", script: `exec 3<app.conf; read -r a <&3; read -r -N 10 b <&3; cat <&3; echo "$a $b"`},
	{name: "bash mapfile", script: `mapfile -t lines <longest; echo "${#lines[@]} ${lines[5]}"; mapfile -n 2 -s 1 two <app.conf; echo "${two[1]}"`},
	{name: "bash $(<file)", script: `x=$(<longest); echo ${#x}; echo "$(<'no newline')"`},
	{name: "sh source", script: `sh -c '. ./lib.sh; greet sh'; sh lib.sh; sh <lib.sh; sh -ac '. ./app.env; env' | grep -E 'DB_|TOKEN'`},
	{name: "sh read", script: `sh -c 'while IFS= read -r line; do echo "[$line]"; done <app.conf; read -r x <words; echo $x'`},
	{name: "env -S", script: `env -i -S "$(head -n 1 app.env) printenv"; env $(grep -v PASS app.env | xargs) printenv DB_USER TOKEN`},
	{name: "make include", script: `make -f main.mk; make -C "$D" -s -f main.mk`},
	{name: "make from standard input", script: `make -s -f - <<<"$(cat main.mk)"; make -s -f main.mk -n`},
}
