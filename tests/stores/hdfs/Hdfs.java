import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.hdfs.MiniDFSCluster;

/**
 * Runs a NameNode and a DataNode in a folder, with WebHDFS on a port (arguments: folder, port). Existing data is kept.
 * Then runs commands from standard input with the ordinary client, and prints "ok" after each:
 * "put LOCAL REMOTE", "delete REMOTE" or "mode OCTAL REMOTE".
 */
public class Hdfs {
  public static void main(String[] args) throws Exception {
    File folder = new File(args[0]);
    Configuration conf = new Configuration();
    conf.set(MiniDFSCluster.HDFS_MINIDFS_BASEDIR, folder.getAbsolutePath());
    conf.set("dfs.namenode.http-bind-host", "127.0.0.1");
    conf.set("dfs.datanode.http.address", "127.0.0.1:0");
    conf.set("dfs.ls.limit", "3");
    boolean format = !new File(folder, "name-0-1").exists();
    MiniDFSCluster cluster =
        new MiniDFSCluster.Builder(conf)
            .nameNodeHttpPort(Integer.parseInt(args[1]))
            .numDataNodes(1)
            .format(format)
            .build();
    cluster.waitActive();
    FileSystem files = cluster.getFileSystem();
    System.out.println("ok");
    BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = commands.readLine()) != null; ) {
      String[] words = line.split(" ");
      switch (words[0]) {
        case "put":
          Path target = new Path(words[2]);
          files.mkdirs(target.getParent());
          files.copyFromLocalFile(false, true, new Path(words[1]), target);
          break;
        case "delete":
          files.delete(new Path(words[1]), true);
          break;
        case "mode":
          files.setPermission(new Path(words[2]), new FsPermission(words[1]));
          break;
        default:
          throw new IllegalArgumentException(line);
      }
      System.out.println("ok");
    }
  }
}
