import java.io.FileInputStream;
import java.io.RandomAccessFile;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Arrays;
import java.util.Scanner;

// Read.java WAY FILE...: reads files and says what it saw.
class Read {
    static void say(Path name, byte[] content, Object... more) {
        System.out.println(name + " " + content.length + " " + Arrays.hashCode(content) + " " + Arrays.toString(more));
    }

    public static void main(String[] args) throws Exception {
        for (String arg : Arrays.copyOfRange(args, 1, args.length)) {
            Path name = Path.of(arg);
            if (args[0].equals("map")) {
                map(name);
            } else {
                read(name);
            }
        }
    }

    static void read(Path name) throws Exception {
        say(name, Files.readAllBytes(name), Files.size(name), Files.getLastModifiedTime(name), Files.readAllLines(name).size());
        try (Scanner s = new Scanner(name)) {
            int n = 0;
            for (; s.hasNextLine(); n++) {
                s.nextLine();
            }
            System.out.println(n);
        }
        try (var in = new FileInputStream(name.toFile())) {
            System.out.println(in.available());
            say(name, in.readNBytes(100), in.available(), in.skip(10));
            say(name, in.readAllBytes());
        }
        try (var f = new RandomAccessFile(name.toFile(), "r")) {
            byte[] all = new byte[(int) f.length()];
            f.readFully(all);
            f.seek(f.length() - 1);
            say(name, all, f.read(), f.read());
        }
        Path out = Path.of(System.getenv("O"), name.toString());
        Files.copy(name, out, StandardCopyOption.COPY_ATTRIBUTES);
        try (var from = FileChannel.open(name); var to = new FileInputStream(out.toFile()).getChannel()) {
            System.out.println(from.size() + " " + to.size() + " " + Files.mismatch(name, out));
        }
    }

    static void map(Path name) throws Exception {
        try (var c = FileChannel.open(name)) {
            var mapped = c.map(FileChannel.MapMode.READ_ONLY, 0, c.size());
            byte[] all = new byte[mapped.remaining()];
            mapped.get(all);
            say(name, all);
        }
    }
}
