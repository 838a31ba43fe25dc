# What makes a node run on the stack's servers. For scripts to source, after `tools/stack.sh env`.
# shellcheck shell=bash

# settings NAMESPACE: by CHIRM_TEST_ON with one Redis (redis), a cluster, or one and NATS.
settings() {
  export CHIRM__NAMESPACE=$1 CHIRM__POSTGRES__URL=$CHIRM_TEST_POSTGRES CHIRM__CQL__NODES=$CHIRM_TEST_CQL
  export CHIRM__CQL__KEYSPACE=chirm_it CHIRM__REDIS__URLS=$CHIRM_TEST_REDIS CHIRM__REDIS__CLUSTER=false
  if [ "${CHIRM_TEST_ON:-redis}" = redis-cluster ]; then
    export CHIRM__REDIS__URLS=$CHIRM_TEST_REDIS_CLUSTER CHIRM__REDIS__CLUSTER=true
  elif [ "${CHIRM_TEST_ON:-redis}" = nats ]; then
    export CHIRM__NATS__URLS=$CHIRM_TEST_NATS
  fi
}
