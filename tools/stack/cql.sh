# shellcheck shell=bash disable=SC2154 # $stack and $here are set by tools/stack.sh.
# A CQL server for tests: Apache Cassandra, which Maven Central has. Sourced by tools/stack.sh.

# It runs on Java 17, and on none newer.
java17() {
  local java
  for java in "${JAVA_HOME:-}/bin/java" /usr/lib/jvm/*/bin/java "$(command -v java)"; do
    if [ -x "$java" ] && "$java" -version 2>&1 | grep -q 'version "17\.'; then
      echo "$java"
      return
    fi
  done
  return 1
}

cql_needs() {
  java17 >/dev/null || echo java-17=openjdk-17-jre-headless
  [ -d "$(cql_jars)" ] || echo mvn=maven
}

cql_jars() {
  echo "$stack/programs/cassandra-$(sed -n '/cassandra-all/,/<version>/s/.*<version>\(.*\)<.*/\1/p' \
    "$here/cassandra-pom.xml")"
}

cql_install() {
  local jars log=$stack/logs/cql-install.log
  jars=$(cql_jars)
  [ ! -d "$jars" ] || return 0
  say "fetching ${jars##*/} with what it needs (70 MB) from Maven Central"
  rm -rf "$jars.new"
  timeout 280 mvn -B -ntp -C -f "$here/cassandra-pom.xml" \
    -DincludeScope=runtime -DoutputDirectory="$jars.new" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies </dev/null >"$log" 2>&1 || {
    grep -m 4 ERROR "$log" >&2 || tail -n 4 "$log" >&2
    fail "Maven could not fetch the CQL server; is there a network? Its log: $log"
    return
  }
  mv "$jars.new" "$jars"
}

cql_start() {
  local data=$stack/data/cql text options java
  cql_install || return
  java=$(java17) || return
  folder cql
  ports cql 2
  text=$(<"$here/cassandra.yaml")
  text=${text//@DATA@/"$data"}
  text=${text//@STORAGE_PORT@/$(port cql 1)}
  echo "${text//@PORT@/$(port cql)}" | own "$data/cassandra.yaml"
  own "$data/logback.xml" <"$here/cassandra-logback.xml"
  mapfile -t options < <(grep '^-' "$here/cassandra.options")
  # Its classes as the machine last had them in memory, written when it first ends, save seconds of a start.
  if [ -s "$data/classes.jsa" ]; then
    options+=(-XX:SharedArchiveFile="$data/classes.jsa")
  else
    options+=(-XX:ArchiveClassesAtExit="$data/classes.jsa")
  fi
  launch cql "$java" "${options[@]}" -cp "$(cql_jars)/*" -Djava.io.tmpdir="$data" -Djna.tmpdir="$data" \
    -Dcassandra.config="file://$data/cassandra.yaml" -Dcassandra.storagedir="$data" \
    -Dlogback.configurationFile="file://$data/logback.xml" org.apache.cassandra.service.CassandraDaemon
}

cql_url() { echo "127.0.0.1:$(port cql)"; }
cql_ready() { until_ready cql 120 check_cql "$(cql_url)"; }
cql_stop() { end 60 TERM cql; }
cql_env() { echo "CHIRM_TEST_CQL=$(cql_url)"; }
