/**
 * D6: whether a next backup may go by the checkpoint of the point `p`: an SQL condition. Of points that are being made, and of the
 * newest available one of a chain, if a run goes on there: of its series' newest chain, where runs without a chain's name go on
 * (HistoryStore), or of one that its newest point was made in by name.
 */
export const isNeededSql = `(
  p.state IN ('pending', 'capturing', 'captured', 'transferring')
  OR p.state = 'available'
    AND NOT EXISTS (
      SELECT 1 FROM point n
      WHERE n.chain_id = p.chain_id AND n.state = 'available' AND (n.captured_at, n.id) > (p.captured_at, p.id))
    AND (
      NOT EXISTS (
        SELECT 1 FROM chain c
          JOIN chain later ON later.copy_of IS NULL AND later.vm_id = c.vm_id AND later.pool_id = c.pool_id
            AND later.disk_ids IS NOT DISTINCT FROM c.disk_ids AND (later.created_at, later.id) > (c.created_at, c.id)
        WHERE c.id = p.chain_id
          AND EXISTS (SELECT 1 FROM point n WHERE n.chain_id = later.id AND n.state = 'available'))
      OR EXISTS (
        SELECT 1 FROM machine_instance m
        WHERE m.kind = 'protection' AND m.id = p.item_id::text AND m.state -> 'request' ->> 'chainId' IS NOT NULL)))`;
