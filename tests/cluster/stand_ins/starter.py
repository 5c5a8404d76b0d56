#!/usr/bin/env python3
"""Starts Hadoop as Apache's image does: `starter.sh hdfs namenode|datanode`.

Environment variables `HDFS-SITE.XML_key=value` are settings.
"""

import os
import sys
from pathlib import Path
from xml.sax.saxutils import escape

CONF, MAIN = Path("/opt/hadoop/conf"), "org.apache.hadoop.hdfs.server.{0}.{1}"
CLASSES = {"namenode": MAIN.format("namenode", "NameNode"), "datanode": MAIN.format("datanode", "DataNode")}
LOGGING = """log4j.rootLogger=WARN,A
log4j.appender.A=org.apache.log4j.ConsoleAppender
log4j.appender.A.layout=org.apache.log4j.PatternLayout
log4j.appender.A.layout.ConversionPattern=%d %p %c{2}: %m%n
"""

for file in ("core-site.xml", "hdfs-site.xml"):
    prefix = f"{file.upper()}_"
    lines = [
        f"<property><name>{escape(name.removeprefix(prefix))}</name><value>{escape(value)}</value></property>"
        for name, value in os.environ.items()
        if name.startswith(prefix)
    ]
    (CONF / file).write_text("<configuration>" + "".join(lines) + "</configuration>")
(CONF / "log4j.properties").write_text(LOGGING)
for app in ("hdfs", "datanode"):
    folder = CONF / "webapps" / app / "WEB-INF"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "web.xml").write_text('<web-app version="2.4" xmlns="http://java.sun.com/xml/ns/j2ee"/>')

role = sys.argv[2]
heap = os.environ.get("HADOOP_HEAPSIZE_MAX", "256m")
java = [
    "java",
    "--add-opens",
    "java.base/java.lang=ALL-UNNAMED",
    f"-Xmx{heap}",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
]
java += ["-cp", f"{CONF}:/opt/hadoop/jars/*", CLASSES[role]]
ensured = os.environ.get("ENSURE_NAMENODE_DIR")
if role == "namenode" and ensured and not Path(ensured).is_dir():
    code = os.spawnvp(os.P_WAIT, "java", [*java, "-format", "-nonInteractive"])
    if code:
        sys.exit(code)
os.execvp("java", java)
