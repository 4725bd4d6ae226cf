//! Which area a request falls to.

use super::areas::Areas;
use super::lay::whole;
use super::map::CityMap;
use super::rejects::{Input, Reason, Rejects};
use super::request::{PlacedBy, Request};

/// Decides for each request which area it falls to: the one its position lies in; else the one its
/// position is nearest to; else the one that the source names.
///
/// What lies outside and what nothing tells is counted.
pub fn place_requests(
    requests: &mut [Request],
    areas: &Areas,
    map: &CityMap,
    rejects: &mut Rejects,
) {
    for request in requests {
        let placed = place(request, areas, map);
        request.area = placed.map(|(area, _)| area);
        request.placed_by = placed.map(|(_, by)| by);
        match request.placed_by {
            None => rejects.count(Input::Incidents, Reason::NoArea, request.line),
            Some(PlacedBy::Nearest { .. }) => {
                rejects.count(Input::Incidents, Reason::OutsideAreas, request.line);
            }
            Some(PlacedBy::Position | PlacedBy::Name) => {}
        }
    }
}

fn place(request: &Request, areas: &Areas, map: &CityMap) -> Option<(usize, PlacedBy)> {
    if let Some(position) = request.position {
        if let Some(area) = areas.containing(position) {
            return Some((area, PlacedBy::Position));
        }
        let (area, distance_m) = areas.nearest(position)?;
        let distance_m = whole(distance_m);
        return Some((area, PlacedBy::Nearest { distance_m }));
    }
    let alias = map.area_names.get(&request.area_text);
    let name = alias.unwrap_or(&request.area_text);
    Some((areas.named(name)?, PlacedBy::Name))
}
