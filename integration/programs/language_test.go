package programs_test

// languagePrograms are the run-time libraries of languages.
var languagePrograms = []programRun{
	{name: "perl slurp", script: `perl -0777 -ne 'print length, "\n", substr($_, -20)' longest; perl -ne 'print "$.: $_"' app.conf`},
	{name: "perl -s", script: `perl -e 'for (@ARGV) { print "$_: ", -s $_, " ", -z _ ? "empty" : "full", " ", -r _, " ", (stat _)[9], "\n" }' app.conf blank page longest`},
	{name: "perl seek and tell", script: `perl -e 'open F, "<", "longest" or die $!; seek F, 0, 2; print tell F, "\n"; seek F, -10, 1; read F, $x, 100; print $x, eof F; seek F, 5, 0; print scalar <F>'`},
	{name: "perl sysread", script: `perl -e 'open F, "<", "longest" or die $!; sysseek F, 4090, 0; print sysread(F, $x, -s F), "\n"; print sysread(F, $y, 9), "\n", $x'`},
	{name: "perl do and require", script: `perl -e 'our %config; do "./lib.pl" or die; print $config{password}; require "./lib.pl"'`},
	{name: "perl maps", script: `perl -e 'open F, "<:mmap", "longest" or die $!; local $/; print <F>'`},

	{name: "python read", script: `python3 "$H/read.py" read longest app.conf blank 'no newline' utf8`},
	{name: "python readinto", script: `python3 "$H/read.py" readinto longest blank page`},
	{name: "python os.read of st_size", script: `python3 "$H/read.py" os_read longest blank page 'no newline'`},
	{name: "python pread and preadv", script: `python3 "$H/read.py" pread longest page`},
	{name: "python seek", script: `python3 "$H/read.py" seek longest page app.conf`},
	{name: "python lines", script: `python3 "$H/read.py" lines app.conf crlf longest`},
	{name: "python private mmap", script: `python3 "$H/read.py" mmap_private longest page blank`},
	{name: "python shared mmap", script: `python3 "$H/read.py" mmap_shared longest page blank`, mapsShared: true},
	{name: "python shutil", script: `python3 "$H/read.py" shutil longest app.conf blank`},
	{name: "python shutil.copytree", script: `python3 -c 'import os, shutil; shutil.copytree(".", os.environ["O"] + "/tree")'`},
	{name: "python tarfile", script: `python3 "$H/read.py" tar longest app.conf blank`},
	{name: "python zipfile", script: `python3 "$H/read.py" zip longest app.conf blank`},
	{name: "python sendfile to a pipe", script: `python3 "$H/read.py" sendfile_pipe longest page blank`},
	{name: "python sendfile to a socket", script: `python3 "$H/read.py" sendfile_socket longest page blank`},
	{name: "python filecmp", script: `python3 -c 'import filecmp; print(filecmp.cmp("app.conf", "app.new", False), filecmp.cmp("longest", "longest", False), filecmp.cmp("app.conf", "sub/app.conf"))'`},
	{name: "python import", script: `python3 -c 'import sys; sys.path.insert(0, "."); import lib; print(lib.password)'; python3 lib.py; python3 -m json.tool app.json`},
	{name: "python configparser", script: `python3 -c 'import configparser; c = configparser.ConfigParser(); c.read("app.ini"); print(dict(c["database"]))'`},
	{name: "python TLS", script: `python3 "$H/tls.py"`},

	{name: "node readFileSync", script: `node "$H/read.js" readFileSync longest app.conf blank 'no newline' utf8`},
	{name: "node streams", script: `node "$H/read.js" streams longest page blank`},
	{name: "node positions", script: `node "$H/read.js" positions longest page`},
	{name: "node copyFile", script: `node "$H/read.js" copyFile longest app.conf blank`},
	{name: "node require", script: `node -e 'console.log(require(process.cwd() + "/lib.js").password, require(process.cwd() + "/app.json").list)'; node lib.js`},
	{name: "node TLS", script: `node "$H/tls.js"`},

	{name: "java", script: `java -XX:-UsePerfData -XX:TieredStopAtLevel=1 "$H/Read.java" read longest app.conf blank 'no newline' page`, optional: "java"},
	{name: "java maps", script: `java -XX:-UsePerfData -XX:TieredStopAtLevel=1 "$H/Read.java" map longest page blank`, optional: "java", mapsShared: true},

	{name: "go os.ReadFile", script: `"$P" readfile longest app.conf blank 'no newline'`},
	{name: "go io.Copy", script: `"$P" iocopy longest app.conf blank`},
	{name: "go bufio.Scanner", script: `"$P" lines longest app.conf 'no newline'`},
	{name: "go ReadAt and Seek", script: `"$P" readat longest page blank`},
	{name: "go os.DirFS", script: `"$P" dirfs`},
	{name: "go os.CopyFS", script: `"$P" copyfs`},
	{name: "go net/http", script: `"$P" http longest app.conf blank`},
	{name: "go crypto/tls", script: `"$P" tls`},
}
